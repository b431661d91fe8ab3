//! Who is there, and how that was proved.

use std::net::IpAddr;

use crate::base::TenantName;
use crate::config::settings::KeyOptions;

/// How an identity was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The client signed with a key that is authorized.
    Key {
        /// `SHA256:…` of its blob, as `ssh-keygen -l` prints it.
        fingerprint: String,
        /// What its line says it may do.
        options: KeyOptions,
    },
    /// The client signed with a key that somebody who is trusted certified.
    Certificate {
        /// What the authority calls the certificate, escaped.
        key_id: String,
        /// Its number.
        serial: u64,
        /// `SHA256:…` of the authority's key.
        authority: String,
        /// `SHA256:…` of the certified key.
        fingerprint: String,
        /// What certificate and line together say that it may do.
        options: KeyOptions,
    },
    /// The client showed the tenant's password, and no key.
    Password,
    /// PAM agreed, and the client showed no key.
    Pam,
    /// Whoever asks is root of this host, who may enter every cell.
    HostRoot,
    /// The kernel says that a process of this host account asks, which is tied to the tenant.
    HostAccount {
        /// The account's name, escaped.
        name: String,
        /// Its uid.
        uid: u32,
    },
}

impl Proof {
    /// What key or certificate say it may do; `None`: nothing was said.
    #[must_use]
    pub fn options(&self) -> Option<&KeyOptions> {
        match self {
            Self::Key { options, .. } | Self::Certificate { options, .. } => Some(options),
            Self::Password | Self::Pam | Self::HostRoot | Self::HostAccount { .. } => None,
        }
    }

    /// Whether it is about a process of this host, whatever way it came here.
    #[must_use]
    pub fn is_of_this_host(&self) -> bool {
        match self {
            Self::HostRoot | Self::HostAccount { .. } => true,
            Self::Key { .. } | Self::Certificate { .. } | Self::Password | Self::Pam => false,
        }
    }
}

/// A tenant that proved to be there. Made by `auth` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    tenant: TenantName,
    proof: Proof,
    peer: IpAddr,
}

impl Identity {
    /// Says that `tenant` is at `peer`; the caller has just verified `proof`.
    #[must_use]
    pub fn proved(tenant: TenantName, proof: Proof, peer: IpAddr) -> Self {
        Self { tenant, proof, peer }
    }

    /// Who.
    #[must_use]
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// How that was proved.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// From where.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.peer
    }
}
