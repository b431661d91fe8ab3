//! Control groups.

use super::some;
use crate::doctor::checks::{CGROUP_CONTROLLERS, CGROUP_DELEGATION, CGROUP_MODE};
use crate::doctor::facts::{Delegation, Groups, Mode};
use crate::doctor::verdict::{Remedy, Verdict};

/// Without these a tenant can use the machine up.
const NEEDED: [&str; 3] = ["memory", "pids", "cpu"];

const BOOT_V2: &str =
    "boot with systemd.unified_cgroup_hierarchy=1 (and without cgroup_no_v1=) on the kernel's command line";

/// What the unit that a package installs says, for a unit that does not.
fn drop_in() -> Remedy {
    Remedy::Install {
        path: "/etc/systemd/system/cellblock.service.d/delegate.conf",
        text: "[Service]\nDelegate=yes\nDelegateSubgroup=listener\n".into(),
    }
}

pub(super) fn judge(groups: &Groups) -> Vec<Verdict> {
    vec![mode(groups), controllers(groups), delegation(groups)]
}

fn mode(groups: &Groups) -> Verdict {
    let found = match groups.mode {
        Mode::V2 => "version 2",
        Mode::V1 => "version 1",
        Mode::Hybrid => "hybrid: version 1 with the controllers, version 2 without",
        Mode::None => {
            return Verdict::fail(&CGROUP_MODE, "none are mounted", "no cell can start")
                .run("mount -t cgroup2 cgroup2 /sys/fs/cgroup");
        }
    };
    if !groups.writable {
        return Verdict::fail(&CGROUP_MODE, format!("{found}, read-only"), "no cell can start")
            .remedy(Remedy::Advice("mount them for writing; in a container, have it hand them in so".into()));
    }
    match groups.mode {
        Mode::V2 | Mode::None => Verdict::ok(&CGROUP_MODE, found),
        Mode::V1 | Mode::Hybrid => Verdict::warn(
            &CGROUP_MODE,
            found,
            "memory, pids and cpu can be limited; memory.high, and the use of disks, cannot",
        )
        .remedy(Remedy::Advice(BOOT_V2.into())),
    }
}

fn controllers(groups: &Groups) -> Verdict {
    let has = |name: &str| groups.controllers.iter().any(|there| there == name);
    let lacking: Vec<_> = NEEDED.iter().filter(|name| !has(name)).collect();
    let there = if groups.controllers.is_empty() { "none".to_owned() } else { some(&groups.controllers) };
    if !lacking.is_empty() {
        let means = format!("tenants cannot be held to limits on {}", some(&lacking));
        let remedy = if lacking.iter().any(|name| **name == "memory") {
            "boot with cgroup_enable=memory, and without cgroup_disable=, on the kernel's command line"
        } else {
            "boot without cgroup_disable= on the kernel's command line, or another kernel"
        };
        return Verdict::fail(&CGROUP_CONTROLLERS, there, means).remedy(Remedy::Advice(remedy.into()));
    }
    match groups.mode {
        Mode::V2 if !has("io") => {
            Verdict::warn(&CGROUP_CONTROLLERS, there, "tenants cannot be held to limits on the use of disks")
                .remedy(Remedy::Advice("boot a kernel with CONFIG_BLK_CGROUP".into()))
        }
        Mode::V2 | Mode::V1 | Mode::Hybrid | Mode::None => Verdict::ok(&CGROUP_CONTROLLERS, there),
    }
}

fn delegation(groups: &Groups) -> Verdict {
    let means = "systemd does not know of the groups that cells lie in, and manages the tree that they are made in";
    match (groups.mode, &groups.delegation) {
        (Mode::V1 | Mode::Hybrid | Mode::None, _) => {
            Verdict::ok(&CGROUP_DELEGATION, "version 1 knows none; ours lie beside systemd's")
        }
        (Mode::V2, Delegation::NoSystemd) => Verdict::ok(&CGROUP_DELEGATION, "systemd does not run here"),
        (Mode::V2, Delegation::NoUnit) => Verdict::ok(&CGROUP_DELEGATION, "systemd does not start cellblock"),
        (Mode::V2, Delegation::Delegated) => Verdict::ok(&CGROUP_DELEGATION, "the unit's part is ours"),
        (Mode::V2, Delegation::Undelegated) => {
            Verdict::warn(&CGROUP_DELEGATION, "the unit does not say Delegate=", means).remedy(drop_in())
        }
        (Mode::V2, Delegation::WithoutLeaf) => {
            Verdict::warn(&CGROUP_DELEGATION, "the unit has no DelegateSubgroup= (it takes systemd 254)", means)
                .remedy(drop_in())
        }
        (Mode::V2, Delegation::Unseen(why)) => Verdict::unknown(&CGROUP_DELEGATION, why),
    }
}
