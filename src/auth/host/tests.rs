use std::cell::Cell;

use super::*;
use crate::config::sample;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name.parse().unwrap(), sample::jail())
}

fn proved(uid: u32, asked: Option<&str>) -> Result<(String, Proof), NotTied> {
    let find = |name: &TenantName| Ok(["alice", "bob"].contains(&name.as_str()).then(|| tenant(name.as_str())));
    let tied = |account: &HostAccount| Ok((account.name == "al").then(|| tenant("alice")));
    let account = || {
        let name = match uid {
            1001 => "al",
            1002 | 65_534 => "al too",
            _ => return None,
        };
        Some(HostAccount { name: name.into(), groups: Vec::new() })
    };
    let (identity, tenant) = prove_host(&HostClaim { uid, asked }, account, &find, &tied)?;
    assert_eq!(*identity.tenant(), tenant.name);
    Ok((tenant.name.to_string(), identity.proof().clone()))
}

#[test]
fn an_account_is_the_tenant_that_it_is_tied_to_and_no_other() {
    let alice = ("alice".to_owned(), Proof::HostAccount { name: "al".into(), uid: 1001 });
    assert_eq!(proved(1001, None), Ok(alice.clone()));
    assert_eq!(proved(1001, Some("alice")), Ok(alice));
    for other in ["bob", "root", "nobody", "", "alice ", "alice\0"] {
        assert_eq!(proved(1001, Some(other)), Err(NotTied::Another("alice".parse().unwrap())), "{other}");
    }
    for asked in [None, Some("alice"), Some("bob")] {
        assert_eq!(proved(1002, asked), Err(NotTied::NoTenant));
        assert_eq!(proved(1003, asked), Err(NotTied::NoAccount));
        assert_eq!(proved(65_534, asked), Err(NotTied::NoAccount), "whoever has no id here");
    }
}

#[test]
fn root_enters_whom_it_names_and_is_nobody_itself() {
    assert_eq!(proved(0, Some("bob")), Ok(("bob".to_owned(), Proof::HostRoot)));
    assert_eq!(proved(0, None), Err(NotTied::Unnamed));
    assert_eq!(proved(0, Some("zoe")), Err(NotTied::Unknown));
    assert_eq!(proved(0, Some("../bob")), Err(NotTied::Unknown));
}

#[test]
fn roots_account_is_never_looked_up() {
    let looked = Cell::new(false);
    let account = || {
        looked.set(true);
        None
    };
    let claim = HostClaim { uid: 0, asked: Some("bob") };
    assert!(prove_host(&claim, account, &|_| Ok(Some(tenant("bob"))), &|_| Ok(None)).is_ok());
    assert!(!looked.get());
}

#[test]
fn the_host_knows_its_accounts_and_their_groups() {
    let root = host_account(0, true).unwrap();
    assert_eq!(root.name, "root");
    assert!(root.groups.contains(&"root".to_owned()), "{:?}", root.groups);
    assert_eq!(host_account(3_999_999_999, true), None);
}
