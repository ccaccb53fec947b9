//! What is said of each case, and in the end.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::case::{Case, Outputs};
use crate::compare::{self, Distance};

/// How one case went.
pub(crate) struct Verdict {
    kind: String,
    name: String,
    /// The output that used most of its tolerance.
    worst: String,
    distance: Distance,
    tol: f64,
    n_failed: usize,
}

impl Verdict {
    /// A case whose runner failed.
    pub(crate) fn broken(case: &Case, why: String) -> Self {
        Self {
            kind: case.kind.clone(),
            name: case.name.clone(),
            worst: "-".to_owned(),
            distance: Distance::Apart(why),
            tol: 0.0,
            n_failed: 1,
        }
    }

    /// Compare everything that the case expects.
    pub(crate) fn compare(case: &Case, got: &Outputs) -> Result<Self> {
        let mut verdict = Self {
            kind: case.kind.clone(),
            name: case.name.clone(),
            worst: "nothing expected".to_owned(),
            distance: Distance::Error(0.0),
            tol: 0.0,
            n_failed: 0,
        };
        let mut note = |output: String, distance: Distance, tol: f64| {
            // How much of its tolerance an output uses; an exact one uses none or all.
            let use_of =
                |d: &Distance, tol: f64| if d.size() == 0.0 { 0.0 } else { d.size() / tol };
            verdict.n_failed += usize::from(!distance.within(tol));
            let first = verdict.worst == "nothing expected";
            if first || use_of(&distance, tol) > use_of(&verdict.distance, verdict.tol) {
                (verdict.worst, verdict.distance, verdict.tol) = (output, distance, tol);
            }
        };
        for (output, tol) in &case.expect {
            let found = got.tensors.iter().find(|(name, _)| name == output);
            let distance = match found {
                Some((_, tensor)) => compare::tensors(tensor, &case.expected(output)?)?,
                None => Distance::Apart("not computed".to_owned()),
            };
            note(output.clone(), distance, *tol);
        }
        for (output, want) in &case.expect_json {
            let (distance, tol) = match got.json.get(output) {
                Some(value) => compare::json(value, want),
                None => (Distance::Apart("not computed".to_owned()), 0.0),
            };
            note(format!("json.{output}"), distance, tol);
        }
        Ok(verdict)
    }

    /// Whether every output passed.
    pub(crate) fn passed(&self) -> bool {
        self.n_failed == 0
    }
}

/// One line per case.
#[allow(clippy::print_stdout)]
pub(crate) fn print_case(v: &Verdict) {
    let word = if v.passed() { "pass" } else { "FAIL" };
    let distance = match &v.distance {
        Distance::Error(e) => format!("error {e:.1e}, tolerance {:.1e}", v.tol),
        Distance::Apart(why) => why.clone(),
    };
    println!("{word} {}/{}  worst {}: {distance}", v.kind, v.name, v.worst);
}

/// A line per kind, and the count.
#[allow(clippy::print_stdout)]
pub(crate) fn print_summary(verdicts: &[Verdict]) {
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for v in verdicts {
        let (passed, failed) = kinds.entry(&v.kind).or_default();
        *(if v.passed() { passed } else { failed }) += 1;
    }
    for (kind, (passed, failed)) in &kinds {
        println!("{kind}: {passed} passed, {failed} failed");
    }
    let passed = verdicts.iter().filter(|v| v.passed()).count();
    println!("{passed} passed, {} failed", verdicts.len() - passed);
}

/// The same for programs.
pub(crate) fn write_json(path: &Path, verdicts: &[Verdict]) -> Result<()> {
    let one = |v: &Verdict| -> Value {
        let (error, problem) = match &v.distance {
            Distance::Error(e) => (Some(*e), None),
            Distance::Apart(why) => (None, Some(why.clone())),
        };
        json!({
            "kind": v.kind, "case": v.name, "passed": v.passed(), "failed_outputs": v.n_failed,
            "worst": v.worst, "error": error, "problem": problem, "tolerance": v.tol,
        })
    };
    let all: Vec<Value> = verdicts.iter().map(one).collect();
    Ok(sae_core::io::write_atomic(path, format!("{:#}\n", Value::Array(all)).as_bytes())?)
}
