//! Who a process of this host is: root, or a host account that is tied to a tenant. The kernel has said
//! whose process it is; all that is asked here is the host's list of accounts.

use std::{
    ffi::OsStr,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use crate::base::{Result, TenantName, escape};
use crate::config::settings::Tenant;
use crate::policy::{Identity, Proof};
use crate::wire::enter::NoEntry;

/// Whom an identity of this host counts to come from.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the kernel says of an id that it cannot name in our user namespace (`overflowuid`): many may have it.
const OVERFLOW: u32 = 65_534;

/// A host account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAccount {
    /// Its name.
    pub name: String,
    /// Its groups; empty where nobody's groups decide anything.
    pub groups: Vec<String>,
}

/// What a process of this host shows and asks for.
#[derive(Debug, Clone, Copy)]
pub struct HostClaim<'a> {
    /// Whose process it is, as the kernel says.
    pub uid: u32,
    /// Whose cell it asks for, if it says so.
    pub asked: Option<&'a str>,
}

/// Why it is let in nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTied {
    /// The uid belongs to no account that the host knows.
    NoAccount,
    /// The account is no tenant.
    NoTenant,
    /// It is another tenant than the one that was asked for.
    Another(TenantName),
    /// Root named no tenant.
    Unnamed,
    /// Root named one that there is not.
    Unknown,
    /// The config could not be asked.
    Config(String),
}

impl NotTied {
    /// What the caller is told.
    #[must_use]
    pub fn told(&self) -> NoEntry {
        match self {
            Self::NoAccount | Self::NoTenant => NoEntry::NoTenant,
            Self::Another(_) => NoEntry::Another,
            Self::Unnamed => NoEntry::Unnamed,
            Self::Unknown => NoEntry::Unknown,
            Self::Config(_) => NoEntry::Failed,
        }
    }
}

impl fmt::Display for NotTied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAccount => f.write_str("the uid has no account"),
            Self::NoTenant => f.write_str("the account is no tenant"),
            Self::Another(own) => write!(f, "the account is {own}"),
            Self::Unnamed => f.write_str("root named no tenant"),
            Self::Unknown => f.write_str("unknown tenant"),
            Self::Config(why) => write!(f, "config: {why}"),
        }
    }
}

impl std::error::Error for NotTied {}

/// Asks the host (NSS) for the account with this uid; with its groups, if they are wanted. May take as
/// long as the host's directory of accounts does.
#[must_use]
pub fn host_account(uid: u32, with_groups: bool) -> Option<HostAccount> {
    let user = users::get_user_by_uid(uid)?;
    let name = user.name().to_str()?.to_owned();
    let known = |name: &OsStr| name.to_str().map(str::to_owned);
    let groups = if with_groups {
        let primary = users::get_group_by_gid(user.primary_group_id());
        let others = users::get_user_groups(user.name(), user.primary_group_id()).unwrap_or_default();
        primary.iter().chain(&others).filter_map(|group| known(group.name())).collect()
    } else {
        Vec::new()
    };
    Some(HostAccount { name, groups })
}

/// The identity of whoever runs this very process, in a jail of their own that nobody else has made or shares.
#[must_use]
pub fn own_identity(uid: u32, account: &str, tenant: TenantName) -> Identity {
    Identity::proved(tenant, Proof::HostAccount { name: escape(account), uid }, HERE)
}

/// The identity of a process of this host, and its tenant. `account` is that of the claim's uid.
pub fn prove_host(
    claim: &HostClaim<'_>,
    account: impl FnOnce() -> Option<HostAccount>,
    tenant: &dyn Fn(&TenantName) -> Result<Option<Tenant>>,
    tied: &dyn Fn(&HostAccount) -> Result<Option<Tenant>>,
) -> Result<(Identity, Tenant), NotTied> {
    let config = |failure: crate::base::Failure| NotTied::Config(failure.to_string());
    if claim.uid == 0 {
        // Before any account: root by another name is root.
        let asked = claim.asked.ok_or(NotTied::Unnamed)?;
        let name: TenantName = asked.parse().map_err(|_no_name| NotTied::Unknown)?;
        let tenant = tenant(&name).map_err(config)?.ok_or(NotTied::Unknown)?;
        return Ok((Identity::proved(name, Proof::HostRoot, HERE), tenant));
    }
    if claim.uid == OVERFLOW {
        return Err(NotTied::NoAccount);
    }
    let account = account().ok_or(NotTied::NoAccount)?;
    let tenant = tied(&account).map_err(config)?.ok_or(NotTied::NoTenant)?;
    if claim.asked.is_some_and(|asked| asked != tenant.name.as_str()) {
        return Err(NotTied::Another(tenant.name));
    }
    let proof = Proof::HostAccount { name: escape(&account.name), uid: claim.uid };
    Ok((Identity::proved(tenant.name.clone(), proof, HERE), tenant))
}

#[cfg(test)]
mod tests;
