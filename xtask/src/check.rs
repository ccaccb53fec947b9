//! `check`: what a change must pass, cheapest first, so that it fails soon.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{shell, test, tidy};

pub(crate) fn check() -> Result<()> {
    let steps: [shell::Step; 6] = [
        ("format", || shell::cargo(["fmt", "--all", "--check"])),
        ("tidy", || tidy::tidy(&shell::root()?)),
        ("clippy", || {
            shell::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        }),
        ("docs", || {
            let mut command = shell::command(["doc", "--workspace", "--no-deps"])?;
            command.env("RUSTDOCFLAGS", "-D warnings");
            shell::run(command)
        }),
        ("deny", || match shell::has_cargo("deny") {
            true => shell::cargo(["deny", "check"]),
            false => {
                println!("cargo-deny is not installed: skipped (`cargo install cargo-deny`)");
                Ok(())
            }
        }),
        ("test", test::test),
    ];
    for (name, step) in steps {
        println!("== {name}");
        let start = Instant::now();
        step().with_context(|| format!("{name} failed"))?;
        println!("== {name}: {:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
