use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::PathBuf,
    time::Duration,
};

use super::*;
use crate::base::Bytes;
use crate::config::settings::{Allow, Limits, Linger, Network, Root, Server, User};

/// Files in a private directory, removed in the end.
struct Config(PathBuf);

impl Config {
    fn new(name: &str, main: &str) -> Self {
        let dir = PathBuf::from(format!("/tmp/cellblock-load-{name}-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        fs::DirBuilder::new().mode(0o700).create(dir.join("tenants.d")).unwrap();
        let config = Self(dir);
        config.file("cellblock.toml", main)
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn load(&self) -> Compiled {
        load(&self.0.join("cellblock.toml")).unwrap().compiled
    }

    fn tenant(&self, name: &str) -> Tenant {
        self.load().tenant(&name.parse().unwrap()).unwrap().unwrap()
    }

    fn errors(&self) -> Report {
        load(&self.0.join("cellblock.toml")).unwrap_err()
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn an_empty_config_is_one_of_sensible_defaults() {
    let Server { listen, max_connections, login_grace, user, banner, .. } =
        Config::new("empty", "").load().server().unwrap();
    assert_eq!(listen, ["0.0.0.0:22".parse().unwrap(), "[::]:22".parse().unwrap()]);
    assert_eq!((max_connections, login_grace), (4096, Duration::from_secs(120)));
    assert_eq!((user, banner), (None, None));
}

#[test]
fn what_a_tenant_does_not_say_is_built_in() {
    let alice = Config::new("built-in", "[tenant.web_1]\nlocked = true").tenant("web_1");
    let jail = alice.jail;
    assert_eq!((jail.root, jail.user, jail.network), (Root::Host, User::Tenant, Network::None));
    assert_eq!((jail.home.as_str(), jail.hostname.as_str()), ("/home/web_1", "web-1"));
    assert_eq!(jail.linger, Linger::For(Duration::from_secs(600)));
    assert_eq!(jail.allow.len(), 9);
    assert_eq!(jail.capabilities & (1 << 21), 0, "no CAP_SYS_ADMIN");
    assert_eq!(jail.capabilities & 1, 1, "CAP_CHOWN");
    assert!(jail.no_new_privs && alice.locked);
}

#[test]
fn the_limits_that_nobody_sets_are_those_of_the_table() {
    let bare = Config::new("limits", "[tenant.alice]\nlocked = true").tenant("alice");
    assert_eq!(bare.jail.limits, Limits::default());
}

#[test]
fn a_tenant_has_no_more_connections_than_an_init_serves() {
    let text = |most: u32| format!("[tenant.alice]\nlocked = true\nmax_connections = {most}");
    assert_eq!(Config::new("most", &text(500)).tenant("alice").jail.max_connections, 500);
    assert!(Config::new("more", &text(501)).errors().to_string().contains("from 1 to 500"));
}

#[test]
fn the_home_of_root_is_roots() {
    let root = Config::new("root", "[tenant.root]\nuser = 'root'\nlocked = true").tenant("root");
    assert_eq!(root.jail.home, "/root");
}

#[test]
fn the_nearest_layer_wins_tables_merge_by_entry_and_lists_are_whole() {
    let config = Config::new(
        "merge",
        r#"
        [defaults]
        shell = "/bin/a"
        linger = "forever"
        allow = ["shell", "exec"]
        limits = { tmp = "1M", run = "1M", shm = "1M" }
        set_env = { A = "defaults", B = "defaults", C = "defaults" }
        [class.base]
        shell = "/bin/b"
        limits.run = "2M"
        set_env = { B = "base", C = "base" }
        [class.shop]
        class = "base"
        allow = ["pty"]
        limits.shm = "3M"
        [tenant.inline]
        locked = true
        "#,
    )
    .file("tenants.d/alice.toml", "class = 'shop'\nlocked = true\nset_env.C = 'alice'")
    .file("tenants.d/ignored.toml.bak", "= not read")
    .file("tenants.d/.hidden.toml", "= not read");
    let alice = config.tenant("alice");
    assert_eq!(alice.class.unwrap().as_str(), "shop");
    let jail = alice.jail;
    assert_eq!((jail.shell.as_str(), jail.linger), ("/bin/b", Linger::Forever));
    assert_eq!(jail.allow.into_iter().collect::<Vec<_>>(), [Allow::Pty]);
    assert_eq!([jail.limits.tmp, jail.limits.run, jail.limits.shm], [1, 2, 3].map(|n| Bytes(n << 20)));
    let env: Vec<(&str, &str)> = jail.set_env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "defaults"), ("B", "base"), ("C", "alice")]);
    assert_eq!(config.tenant("inline").jail.shell, "/bin/a");
    assert_eq!(config.load().count(), 2);
}

#[test]
fn one_error_anywhere_means_no_config() {
    let config = Config::new("all-or-nothing", "[tenant.alice]\nlocked = true").file("tenants.d/bob.toml", "shel = 1");
    assert_eq!(config.errors().errors(), 1);
}

#[test]
fn a_tenant_cannot_be_given_twice() {
    let config = Config::new("twice", "[tenant.alice]\nlocked = true").file("tenants.d/alice.toml", "locked = true");
    assert!(config.errors().to_string().contains("there are two tenants `alice`"));
}

#[test]
fn text_of_a_config_cannot_move_a_cursor() {
    let config = Config::new("escape", "[defaults]\n\"a\\u001b]52;c\" = 1\n'b\u{202e}c' = 2 # \u{1b}[2J\n");
    let shown = config.errors().to_string();
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
}

#[test]
fn the_banner_is_read_when_the_config_is() {
    let config = Config::new("banner", "").file("banner", "Keep out\n");
    let main = format!("[server]\nbanner = '{}'", config.0.join("banner").display());
    let config = config.file("cellblock.toml", &main);
    assert_eq!(config.load().server().unwrap().banner.as_deref(), Some("Keep out\n"));
}

#[test]
fn a_root_that_holds_our_own_files_is_refused() {
    let config = Config::new("ours", "");
    let dir = config.0.display();
    let server = format!("[server]\nstate_dir = '{dir}/tenants.d/x'\n");
    let main = format!("{server}[tenant.alice]\nlocked = true\nroot = '{dir}/tenants.d'");
    let config = config.file("cellblock.toml", &main);
    assert!(config.errors().to_string().contains("lies inside"));
}

#[test]
fn more_tenants_than_the_pool_has_ids_for_are_noticed() {
    let config =
        Config::new("pool", "[server]\nid_pool.count = 65536\n[tenant.a]\nlocked = true\n[tenant.b]\nlocked = true");
    let warnings = load(&config.0.join("cellblock.toml")).unwrap().warnings;
    assert!(warnings.to_string().contains("need 131072 host ids"), "{warnings}");
}

#[test]
fn long_lines_and_deep_nesting_do_no_harm() {
    let long = format!("[defaults]\nshel = \"{}\"", "x".repeat(1 << 16));
    assert!(Config::new("long", &long).errors().to_string().len() < 4096);
    let deep = format!("[defaults]\nshell = {}", "[".repeat(100_000));
    assert!(Config::new("deep", &deep).errors().errors() >= 1);
}
