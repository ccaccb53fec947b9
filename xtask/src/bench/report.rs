//! Criterion's estimates as a table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One benchmark; times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Estimate {
    id: String,
    median: f64,
    low: f64,
    high: f64,
    spread: f64,
}

/// All estimates below criterion's folder, by id.
pub(crate) fn collect(dir: &Path) -> Result<Vec<Estimate>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            }
        }
        if folder.ends_with("new") && folder.join("benchmark.json").is_file() {
            found.push(read(&folder)?);
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn read(dir: &Path) -> Result<Estimate> {
    let json = |file: &str| -> Result<Value> {
        let path = dir.join(file);
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    };
    let (benchmark, estimates) = (json("benchmark.json")?, json("estimates.json")?);
    let number = |v: &Value| v.as_f64().context("criterion wrote no number");
    let median = &estimates["median"];
    Ok(Estimate {
        id: benchmark["full_id"].as_str().context("criterion wrote no id")?.to_owned(),
        median: number(&median["point_estimate"])?,
        low: number(&median["confidence_interval"]["lower_bound"])?,
        high: number(&median["confidence_interval"]["upper_bound"])?,
        spread: number(&estimates["median_abs_dev"]["point_estimate"])?,
    })
}

/// Estimates as they are saved.
pub(crate) fn raw(found: &[Estimate]) -> String {
    let one = |e: &Estimate| json!({ "id": e.id, "median_ns": e.median, "low_ns": e.low, "high_ns": e.high, "mad_ns": e.spread });
    format!("{:#}\n", Value::Array(found.iter().map(one).collect()))
}

/// Estimates that were saved.
pub(crate) fn load(path: &Path) -> Result<Vec<Estimate>> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let list: Vec<Value> =
        serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let one = |v: &Value| {
        let number =
            |key: &str| v[key].as_f64().with_context(|| format!("{}: no {key}", path.display()));
        Ok(Estimate {
            id: v["id"].as_str().context("no id")?.to_owned(),
            median: number("median_ns")?,
            low: number("low_ns")?,
            high: number("high_ns")?,
            spread: number("mad_ns")?,
        })
    };
    list.iter().map(one).collect()
}

/// The table. The floor of `group/what/size` is `group/what-floor/size` of the same run, or
/// `group/floor/size` where there is one for the whole group.
pub(crate) fn markdown(found: &[Estimate], before: Option<&[Estimate]>, machine: &str) -> String {
    let mut text = format!(
        "{machine}\n\n| benchmark | median | 95 % interval | spread (MAD) | of its floor |"
    );
    text.push_str(if before.is_some() { " of before |\n" } else { "\n" });
    text.push_str("|---|---|---|---|---|");
    text.push_str(if before.is_some() { "---|\n" } else { "\n" });
    let median = |all: &[Estimate], id: &str| all.iter().find(|e| e.id == id).map(|e| e.median);
    let ratio = |e: &Estimate, to: Option<f64>| {
        to.map_or_else(String::new, |t| format!("{:.2}x", e.median / t))
    };
    for e in found {
        let floor = floor_ids(&e.id).and_then(|ids| ids.iter().find_map(|id| median(found, id)));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "| {} | {} | {} .. {} | {} | {} |",
            e.id,
            time(e.median),
            time(e.low),
            time(e.high),
            time(e.spread),
            ratio(e, floor)
        );
        if let Some(before) = before {
            let _ = write!(text, " {} |", ratio(e, median(before, &e.id)));
        }
        text.push('\n');
    }
    text
}

/// Where the floor of a benchmark may stand, the nearest first.
fn floor_ids(id: &str) -> Option<[String; 2]> {
    let parts: Vec<&str> = id.split('/').collect();
    let own = format!("{}-floor", parts.get(1)?);
    let with = |what| {
        let mut parts = parts.clone();
        parts[1] = what;
        parts.join("/")
    };
    Some([with(own.as_str()), with("floor")])
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.3} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.2} us", ns / 1e3),
        ns => format!("{ns:.1} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(id: &str, median: f64) -> Estimate {
        Estimate { id: id.to_owned(), median, low: median, high: median, spread: 0.0 }
    }

    #[test]
    fn floors_and_earlier_runs_become_ratios() {
        let found = [
            estimate("g/total/8x128", 3e6),
            estimate("g/total-floor/8x128", 2e6),
            estimate("h/one/8", 3e6),
            estimate("h/floor/8", 4e6),
        ];
        let before = [estimate("g/total/8x128", 6e6)];
        let text = markdown(&found, Some(&before), "machine");
        assert!(
            text.contains(
                "| g/total/8x128 | 3.00 ms | 3.00 ms .. 3.00 ms | 0.0 ns | 1.50x | 0.50x |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| h/one/8 | 3.00 ms | 3.00 ms .. 3.00 ms | 0.0 ns | 0.75x |"),
            "{text}"
        );
    }

    #[test]
    fn saved_runs_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let found = vec![estimate("a/b/c", 1.5)];
        let path = dir.path().join("raw.json");
        fs::write(&path, raw(&found)).unwrap();
        assert_eq!(load(&path).unwrap(), found);
    }

    #[test]
    fn criterion_s_folder_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("group/what/new");
        fs::create_dir_all(&new).unwrap();
        fs::write(new.join("benchmark.json"), r#"{"full_id":"group/what/1"}"#).unwrap();
        let median =
            r#"{"point_estimate":5.0,"confidence_interval":{"lower_bound":4.0,"upper_bound":6.0}}"#;
        let text = format!(r#"{{"median":{median},"median_abs_dev":{{"point_estimate":0.5}}}}"#);
        fs::write(new.join("estimates.json"), text).unwrap();
        let found = collect(dir.path()).unwrap();
        assert_eq!(
            (found[0].id.as_str(), found[0].low, found[0].spread),
            ("group/what/1", 4.0, 0.5)
        );
    }
}
