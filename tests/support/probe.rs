//! A probe of `verify`'s that a tenant brings along, as a program of their own: told the same, it finds the same.

use cellblock::{
    config::{Loaded, load},
    jail::Cells,
    verify::{Neighbours, Verifier, probe_of},
    wire::verify::{Bombs, Check, Finding, READY, Side, Task, Verdict},
};

use super::{Door, Ran, program};

/// What `verify` tells its probe about `tenant` of this door, with what bash adds.
pub fn task(door: &Door, tenant: &str) -> Task {
    let Loaded { compiled, warnings: _ } = load(&door.dir.join("cellblock.toml")).unwrap();
    let server = compiled.server().unwrap();
    let tenant = compiled.tenant(&tenant.parse().unwrap()).unwrap().unwrap();
    let cells = Cells::prepare(&server, &program("cellblock-init")).unwrap();
    let verifier = Verifier { cells: &cells, server: &server, neighbours: Neighbours::default(), bombs: Bombs::None };
    let start = probe_of(&verifier.grant(&tenant).unwrap(), false).unwrap();
    let mut task = verifier.task(&tenant, &cells.plan(&tenant).unwrap(), &start);
    drop(cells);
    // The view of the host, in this thread's mount namespace.
    cellblock::sys::mount::detach(&server.run_dir.join("host")).unwrap();
    task.environment.extend(["PWD", "OLDPWD", "SHLVL", "_"].map(str::to_owned));
    task
}

/// Every check held that the probe makes.
pub fn as_verify_finds(ran: &Ran, tenant: &str) {
    assert_eq!(ran.status, 0, "{}", ran.err);
    let text = ran.text();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(READY));
    let findings: Vec<Finding> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let inside = Check::ALL.iter().filter(|check| check.group().side() == Side::Inside).count();
    assert_eq!(findings.len(), inside, "{tenant}");
    for finding in findings {
        // A program of the tenant's own is theirs to read; the probe that `verify` starts is not.
        let theirs = finding.check == Check::OwnProgram;
        assert_eq!(finding.verdict() == Verdict::Escaped, theirs, "{tenant}: {finding:#?}");
        assert_ne!(finding.verdict(), Verdict::Unknown, "{tenant}: {finding:#?}");
    }
}
