//! The text form of the catalogue: a line for a release, then a line for each of its SAEs.
//!
//! ```text
//! @{release}⇥{repo_id}⇥{model}⇥{converter}⇥{number of SAEs}⇥{path with {} for the id}⇥{overrides}⇥{links}
//! {id}⇥{path, if it is another}⇥{l0}⇥{Neuronpedia id}⇥{norm_scaling_factor}⇥{variance_explained}
//! ```
//!
//! Overrides and links are JSON objects. Fields at the end of a line that are empty are left out. In ids,
//! paths and Neuronpedia ids, `12^rest` stands for the first 12 bytes of that column's value before and
//! `rest`. What stands before the first release is comment.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::release::{Entry, Release};
use crate::Error;

/// Where a shared beginning ends.
const SHARED: char = '^';
/// Shared beginnings shorter than this are not worth a number.
const SHORTEST: usize = 3;
/// Stands for the id in a path.
const ID: &str = "{}";

/// The releases of a text that is part of the program.
pub(super) fn read(text: &'static str) -> Result<Vec<Release>, Error> {
    blocks(text).map(|block| release(block, Cow::Borrowed)).collect()
}

/// The releases of any text.
pub(super) fn read_owned(text: &str) -> Result<Vec<Release>, Error> {
    blocks(text).map(|block| release(block, |body| Cow::Owned(body.to_owned()))).collect()
}

/// What stands between the marks of releases.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let first = text.strip_prefix('@').or_else(|| text.split_once("\n@").map(|(_, rest)| rest));
    first.into_iter().flat_map(|rest| rest.split("\n@"))
}

fn release<'a>(
    block: &'a str,
    keep: impl FnOnce(&'a str) -> Cow<'static, str>,
) -> Result<Release, Error> {
    let (head, body) = block.split_once('\n').unwrap_or((block, ""));
    let bad = || Error::CatalogueLine { line: head.to_owned() };
    let mut fields = head.split('\t');
    let mut text = || fields.next().unwrap_or_default();
    let (name, repo_id, model, conversion) = (text(), text(), text(), text());
    let n_saes = text().parse().map_err(|_| bad())?;
    let template = text();
    let (overrides, links) = (text(), text());
    if name.is_empty() || repo_id.is_empty() || template.is_empty() {
        return Err(bad());
    }
    let object = |json: &str| match json {
        "" => Ok(Map::new()),
        json => serde_json::from_str(json).map_err(|_| bad()),
    };
    let links = object(links)?.into_iter();
    Ok(Release {
        name: name.to_owned(),
        repo_id: repo_id.to_owned(),
        model: model.to_owned(),
        conversion: (!conversion.is_empty()).then(|| conversion.to_owned()),
        overrides: object(overrides)?,
        links: links.filter_map(|(k, v)| Some((k, v.as_str()?.to_owned()))).collect(),
        n_saes,
        template: template.to_owned(),
        body: keep(body),
    })
}

/// The entries of a release.
pub(super) fn entries(release: &Release) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::with_capacity(release.n_saes);
    let (mut id, mut path, mut neuronpedia) = (String::new(), String::new(), String::new());
    for line in release.body.lines() {
        let bad = || Error::CatalogueLine { line: format!("{}: {line}", release.name) };
        let mut fields = line.split('\t');
        let mut text = || fields.next().unwrap_or_default();
        let number = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| bad()),
        };
        restore(&mut id, text()).ok_or_else(bad)?;
        let given = text();
        if !given.is_empty() {
            restore(&mut path, given).ok_or_else(bad)?;
        }
        let l0 = number(text())?;
        let known = text();
        if !known.is_empty() {
            restore(&mut neuronpedia, known).ok_or_else(bad)?;
        }
        entries.push(Entry {
            id: id.clone(),
            path: match given {
                "" => release.template.replace(ID, &id),
                _ => path.clone(),
            },
            l0,
            neuronpedia_id: (!known.is_empty()).then(|| neuronpedia.clone()),
            norm_scaling_factor: number(text())?,
            variance_explained: number(text())?,
        });
    }
    Ok(entries)
}

/// `12^rest` or a whole value, put in the place of the value before.
fn restore(value: &mut String, field: &str) -> Option<()> {
    let rest = match field.split_once(SHARED) {
        Some((shared, rest)) => {
            let shared = shared.parse().ok()?;
            value.is_char_boundary(shared).then(|| value.truncate(shared))?;
            rest
        }
        None => {
            value.clear();
            field
        }
    };
    value.push_str(rest);
    Some(())
}

/// `value` with what it shares with the value before it left out; `before` becomes `value`.
fn shorten(before: &mut String, value: &str) -> String {
    let same = before.char_indices().zip(value.chars()).take_while(|((_, a), b)| a == b);
    let shared = same.last().map_or(0, |((at, c), _)| at + c.len_utf8());
    value.clone_into(before);
    if shared >= SHORTEST || value.contains(SHARED) {
        format!("{shared}{SHARED}{}", &value[shared..])
    } else {
        value.to_owned()
    }
}

/// The text of releases and their entries; bodies and templates of the releases are made anew.
pub(super) fn write(releases: &[(Release, Vec<Entry>)]) -> Result<String, Error> {
    let mut text = String::new();
    for (release, entries) in releases {
        let template = template(entries);
        let json =
            |empty: bool, value: Value| if empty { String::new() } else { value.to_string() };
        let head = [
            format!("@{}", release.name),
            release.repo_id.clone(),
            release.model.clone(),
            release.conversion.clone().unwrap_or_default(),
            entries.len().to_string(),
            template.clone(),
            json(release.overrides.is_empty(), Value::Object(release.overrides.clone())),
            json(release.links.is_empty(), serde_json::json!(release.links)),
        ];
        line(&mut text, &head)?;
        let (mut id, mut path, mut neuronpedia) = (String::new(), String::new(), String::new());
        let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
        for entry in entries {
            let known = entry.neuronpedia_id.as_deref();
            let usual = template.replace(ID, &entry.id) == entry.path;
            let fields = [
                shorten(&mut id, &entry.id),
                if usual { String::new() } else { shorten(&mut path, &entry.path) },
                number(entry.l0),
                known.map(|known| shorten(&mut neuronpedia, known)).unwrap_or_default(),
                number(entry.norm_scaling_factor),
                number(entry.variance_explained),
            ];
            line(&mut text, &fields)?;
        }
    }
    Ok(text)
}

/// Appends a line without the empty fields at its end.
fn line(text: &mut String, fields: &[String]) -> Result<(), Error> {
    let joined = fields.join("\t");
    let odd = |field: &String| field.contains(['\t', '\n', '\r']);
    if fields.iter().any(odd) || fields[0].is_empty() {
        return Err(Error::CatalogueLine { line: joined });
    }
    text.push_str(joined.trim_end_matches('\t'));
    text.push('\n');
    Ok(())
}

/// How most paths follow from their ids.
fn template(entries: &[Entry]) -> String {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for entry in entries {
        let Some((before, after)) = entry.path.split_once(&entry.id) else { continue };
        let template = format!("{before}{ID}{after}");
        match counted.iter_mut().find(|(known, _)| *known == template) {
            Some((_, count)) => *count += 1,
            None => counted.push((template, 1)),
        }
    }
    // The first of those that are most frequent, so that the text is the same every time.
    let best = counted.into_iter().rev().max_by_key(|(_, count)| *count);
    best.map_or_else(|| ID.to_owned(), |(template, _)| template)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let name = "[a-z{}^/_.é0-9]{1,12}";
        (name, name, of(any::<f32>()), of(name), of(0.0..9.0f64)).prop_map(
            |(id, path, l0, neuronpedia_id, norm_scaling_factor)| Entry {
                id,
                path,
                l0: l0.map(f64::from).filter(|l0| l0.is_finite()),
                variance_explained: None,
                neuronpedia_id,
                norm_scaling_factor,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(entries in vec(entry(), 1..20)) {
            let release = Release {
                name: "name".to_owned(),
                repo_id: "owner/name".to_owned(),
                model: "model".to_owned(),
                conversion: None,
                overrides: Map::new(),
                links: [("model".to_owned(), "https://example.org".to_owned())].into(),
                n_saes: entries.len(),
                template: String::new(),
                body: Cow::Borrowed(""),
            };
            let text = write(&[(release.clone(), entries.clone())]).unwrap();
            let read = read_owned(&format!("# comment\n{text}")).unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(&read[0].links, &release.links);
            prop_assert_eq!(read[0].saes().unwrap(), entries);
        }
    }
}
