//! The checked config as every process sees it: one sealed memory file, mapped for reading.
//!
//! Written once by the process that loaded the config; the listener keeps it and every monitor
//! inherits the mapping, so a fork copies none of it and a lookup reads one slot and one record,
//! whatever the number of tenants. Decoding is bounded by the file and never panics.
//!
//! Layout, little-endian: header, server record, stranger record, tenant records in name order, index. A record is
//! its length (u32) and postcard bytes. The index is a table of slots with open addressing.

use std::os::fd::AsFd as _;

use serde::{Serialize, de::DeserializeOwned};

use super::settings::{Server, Stranger, Tenant};
use crate::base::{Result, TenantName, fail};
use crate::sys::{map::Map, memfd};

const MAGIC: &[u8; 8] = b"cellblk1";

/// Magic, tenants (u64), start of the tenant records, start of the index, slots, how many tenants
/// certificates are taken for, how many are tied to a host group.
const HEADER: usize = 8 + 6 * 8;

/// Hash (u64) and start of the record (u64); 0, inside the header, means an empty slot.
const SLOT: usize = 16;

/// One tenant's record: a config file of its own has at most 1 MiB, and what it inherits another.
const MAX_RECORD: usize = 4 << 20;

/// Collects records; [`Builder::seal`] makes the config of them.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    tenants_at: usize,
    /// By name, and by the host accounts and groups that are tied to them.
    index: Vec<(u64, usize)>,
    count: usize,
    certified: usize,
    grouped: usize,
}

impl Builder {
    /// Starts with the records of which there is one.
    pub fn new(server: &Server, stranger: &Stranger) -> Result<Self> {
        let (bytes, tenants_at) = (vec![0; HEADER], HEADER);
        let mut builder = Self { bytes, tenants_at, index: Vec::new(), count: 0, certified: 0, grouped: 0 };
        builder.record(server)?;
        builder.record(stranger)?;
        builder.tenants_at = builder.bytes.len();
        Ok(builder)
    }

    /// Adds a tenant. Each name once: the caller has reported the second one.
    pub fn add(&mut self, tenant: &Tenant) -> Result<()> {
        let at = self.record(tenant)?;
        self.count += 1;
        self.index.push((hash(tenant.name.as_str()), at));
        self.index.extend(tenant.host_user.as_ref().map(|user| (user_hash(user), at)));
        if let Some(group) = &tenant.host_group {
            self.grouped += 1;
            self.index.push((group_hash(group), at));
        }
        Ok(())
    }

    /// Certificates are taken for one more tenant.
    pub fn add_certified(&mut self) {
        self.certified += 1;
    }

    /// How many tenants were added.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    fn record(&mut self, value: &impl Serialize) -> Result<usize> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(value, bytes).map_err(|e| fail("compiling the config", "", e))?;
        let length = self.bytes.len() - at - 4;
        let length = u32::try_from(length)
            .ok()
            .filter(|_fits| length <= MAX_RECORD)
            .ok_or_else(|| fail("compiling the config", "", format!("a tenant needs more than {MAX_RECORD} bytes")))?;
        if let Some(field) = self.bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&length.to_le_bytes());
        }
        Ok(at)
    }

    /// Writes header and index, seals the file and maps it.
    pub fn seal(mut self) -> Result<Compiled> {
        let index_at = self.bytes.len();
        let slots = slots_for(self.index.len());
        let mut table = vec![(0, 0); slots];
        for (hash, at) in &self.index {
            let free = probe(*hash, slots).find(|slot| table.get(*slot).is_some_and(|(_hash, at)| *at == 0));
            if let Some(slot) = free.and_then(|slot| table.get_mut(slot)) {
                *slot = (*hash, *at);
            }
        }
        self.bytes.reserve_exact(table.len() * SLOT);
        for (hash, at) in table {
            self.bytes.extend_from_slice(&hash.to_le_bytes());
            self.bytes.extend_from_slice(&wide(at).to_le_bytes());
        }
        let header = [self.count, self.tenants_at, index_at, slots, self.certified, self.grouped];
        let header = header.into_iter().flat_map(|field| wide(field).to_le_bytes());
        let header: Vec<u8> = MAGIC.iter().copied().chain(header).collect();
        if let Some(space) = self.bytes.get_mut(..HEADER) {
            space.copy_from_slice(&header);
        }
        let sealing = |errno| fail("sealing the compiled config", "", errno);
        let file = memfd::sealed(c"cellblock-config", &self.bytes).map_err(sealing)?;
        Compiled::from_map(Map::sealed(file.as_fd()).map_err(sealing)?)
    }
}

/// The config, checked and compiled. Shared by every process forked after it was made.
#[derive(Debug)]
pub struct Compiled {
    map: Map,
    count: usize,
    tenants_at: usize,
    index_at: usize,
    slots: usize,
    certified: usize,
    grouped: usize,
}

impl Compiled {
    fn from_map(map: Map) -> Result<Self> {
        let header = || {
            let bytes = map.bytes();
            let field = |n: usize| number(bytes, 8 + 8 * n);
            (bytes.get(..8)? == MAGIC).then_some(())?;
            let (count, tenants_at, index_at, slots) = (field(0)?, field(1)?, field(2)?, field(3)?);
            let end = slots.checked_mul(SLOT)?.checked_add(index_at)?;
            (end == bytes.len() && slots.is_power_of_two() && count < slots).then_some(())?;
            Some((count, tenants_at, index_at, slots, field(4)?, field(5)?))
        };
        let (count, tenants_at, index_at, slots, certified, grouped) = header().ok_or_else(damaged)?;
        Ok(Self { map, count, tenants_at, index_at, slots, certified, grouped })
    }

    /// `[server]`.
    pub fn server(&self) -> Result<Server> {
        self.decode(HEADER).map(|(server, _end)| server)
    }

    /// What those are asked for who are nobody.
    pub fn stranger(&self) -> Result<Stranger> {
        let (_server, end): (Server, usize) = self.decode(HEADER)?;
        self.decode(end).map(|(stranger, _end)| stranger)
    }

    /// The tenant of this name. Costs the same whatever the number of tenants, and whether there is one.
    pub fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>> {
        self.find(hash(name.as_str()), |tenant| tenant.name == *name)
    }

    /// The tenant that this host account is: the one whose `host_user` it is, or else the first by name of
    /// those whose `host_group` is among its `groups`.
    pub fn tied_to(&self, user: &str, groups: &[String]) -> Result<Option<Tenant>> {
        let named = self.find(user_hash(user), |tenant| tenant.host_user.as_deref() == Some(user))?;
        if named.is_some() {
            return Ok(named);
        }
        let mut first: Option<Tenant> = None;
        for group in groups {
            let of_group = self.find(group_hash(group), |tenant| tenant.host_group.as_ref() == Some(group))?;
            first = match (first, of_group) {
                (Some(first), Some(other)) => Some(if other.name < first.name { other } else { first }),
                (first, other) => first.or(other),
            };
        }
        Ok(first)
    }

    /// Whether somebody's groups decide which tenant they are.
    #[must_use]
    pub fn ties_groups(&self) -> bool {
        self.grouped > 0
    }

    fn find(&self, wanted: u64, fits: impl Fn(&Tenant) -> bool) -> Result<Option<Tenant>> {
        for slot in probe(wanted, self.slots) {
            let at = self.index_at + slot * SLOT;
            let (Some(found), Some(record)) = (read_u64(self.map.bytes(), at), number(self.map.bytes(), at + 8)) else {
                return Err(damaged());
            };
            if record == 0 {
                return Ok(None);
            }
            if found == wanted {
                let (tenant, _end): (Tenant, usize) = self.decode(record)?;
                if fits(&tenant) {
                    return Ok(Some(tenant));
                }
            }
        }
        Ok(None)
    }

    /// All tenants, in the order of their names.
    pub fn tenants(&self) -> impl Iterator<Item = Result<Tenant>> {
        let mut at = self.tenants_at;
        (0..self.count).map(move |_number| {
            let (tenant, end) = self.decode(at)?;
            at = end;
            Ok(tenant)
        })
    }

    /// Whether certificates are taken for anybody.
    #[must_use]
    pub fn takes_certificates(&self) -> bool {
        self.certified > 0
    }

    /// How many tenants there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The record at `at`, and where it ends.
    fn decode<T: DeserializeOwned>(&self, at: usize) -> Result<(T, usize)> {
        let record = || {
            let length: [u8; 4] = self.map.bytes().get(at..at.checked_add(4)?)?.try_into().ok()?;
            let start = at + 4;
            let end = start.checked_add(usize::try_from(u32::from_le_bytes(length)).ok()?)?;
            Some((self.map.bytes().get(start..end)?, end))
        };
        let (bytes, end) = record().ok_or_else(damaged)?;
        Ok((postcard::from_bytes(bytes).map_err(|_bad| damaged())?, end))
    }
}

fn damaged() -> crate::base::Failure {
    fail("reading the compiled config", "", "it is damaged").hint("restart cellblock, and report this")
}

/// FNV-1a, 64 bits. Not keyed: the names in the table are the admin's, so whoever asks for names
/// over the network cannot lengthen a run of slots, and the table must mean the same in every process.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where a host account is looked for: names of tenants have no colon.
fn user_hash(user: &str) -> u64 {
    hash(&format!("user:{user}"))
}

/// The same for a host group.
fn group_hash(group: &str) -> u64 {
    hash(&format!("group:{group}"))
}

/// At most half of the slots are taken, so that runs stay short and every search meets an empty one.
fn slots_for(tenants: usize) -> usize {
    (tenants.max(1) * 2).next_power_of_two()
}

/// The slots to look at, in order. `slots` is a power of two, or 0 for none.
fn probe(hash: u64, slots: usize) -> impl Iterator<Item = usize> {
    let mask = slots.wrapping_sub(1);
    // FNV's high bits are the better mixed ones for short names.
    let mixed = hash ^ (hash >> 32);
    let first = usize::try_from(mixed & wide(mask)).unwrap_or(0);
    (0..slots).map(move |step| first.wrapping_add(step) & mask)
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(read_u64(bytes, at)?).ok()
}

#[cfg(test)]
#[path = "compiled_tests.rs"]
mod tests;
