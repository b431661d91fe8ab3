//! Opening one socket, in a child of init that has become the tenant. The name of a host is looked up
//! here, in the cell's own files and with its own servers, and by no library of the tenant's.

mod dns;
mod resolver;

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::sys::{Errno, credentials, net, stream};
use crate::wire::{
    forward::{Socket, Target},
    init::Account,
};

use super::spawn::Step;

/// From the order to a connected socket, with the look-up of the name: a client waits for it.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Displays, from the first that OpenSSH would take too (`X11DisplayOffset`).
const DISPLAYS: std::ops::Range<u16> = 10..1010;

/// Where X clients look for displays.
const DISPLAY_DIRECTORY: &str = "/tmp/.X11-unix";

/// The file of the cookie, in its directory.
const COOKIE_FILE: &str = "Xauthority";

/// `FamilyWild` of Xauth(3): the cookie is for this display wherever a client thinks that it runs.
const ANY_HOST: u16 = 0xffff;

/// What a listener leaves in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Left {
    /// A socket.
    Path(String),
    /// A directory with nothing in it but what we made.
    Directory { directory: String, name: String },
    /// A display, and a directory with its cookie.
    Display { directory: String },
}

type Opened = Result<(u16, Vec<OwnedFd>), (Step, Errno)>;

/// What `socket` will leave.
pub(super) fn leaves(socket: &Socket) -> Option<Left> {
    match socket {
        Socket::To(_) | Socket::Loopback(_) => None,
        Socket::Path(path) => Some(Left::Path(path.clone())),
        Socket::Private { directory, name } => {
            Some(Left::Directory { directory: directory.clone(), name: name.clone() })
        }
        Socket::Display { directory, .. } => Some(Left::Display { directory: directory.clone() }),
    }
}

/// Opens it. Paths that are not absolute begin at the home, which is the working directory.
pub(super) fn open(socket: &Socket, account: &Account) -> Opened {
    std::env::set_current_dir(&account.home)
        .or_else(|_no_home| std::env::set_current_dir("/"))
        .map_err(errno("going home"))?;
    // Whoever may connect to a listener may do so as the client: nobody but the tenant.
    credentials::set_umask(0o177);
    match socket {
        Socket::To(Target::Tcp { host, port }) => connect(host, *port),
        Socket::To(Target::Unix { path }) => {
            let socket = stream::connect_unix(Path::new(path), CONNECT_LIMIT);
            Ok((0, vec![socket.map_err(|errno| ("connecting", errno))?]))
        }
        Socket::Loopback(port) => listen_on_loopback(*port),
        Socket::Path(path) => {
            let socket = stream::listen_unix(Path::new(path));
            Ok((0, vec![socket.map_err(|errno| ("listening", errno))?]))
        }
        Socket::Private { directory, name } => {
            make_private(directory)?;
            let socket = stream::listen_unix(&Path::new(directory).join(name));
            Ok((0, vec![socket.map_err(|errno| ("listening", errno))?]))
        }
        Socket::Display { directory, protocol, cookie } => display(directory, protocol, cookie),
    }
}

/// Removes what was left: sockets and the files that we made, and no more. `number` is a display's.
pub(super) fn remove(left: &Left, number: u16) {
    let is_socket = |path: &Path| fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket());
    let gone = match left {
        Left::Path(path) if is_socket(Path::new(path)) => fs::remove_file(path),
        Left::Path(_) => Ok(()),
        Left::Directory { directory, name } => {
            fs::remove_file(Path::new(directory).join(name)).and_then(|()| fs::remove_dir(directory))
        }
        Left::Display { directory } => fs::remove_file(display_path(number))
            .and_then(|()| fs::remove_file(Path::new(directory).join(COOKIE_FILE)))
            .and_then(|()| fs::remove_dir(directory)),
    };
    // The tenant may have been faster, which is the tenant's affair.
    gone.unwrap_or_default();
}

fn errno(step: Step) -> impl Fn(std::io::Error) -> (Step, Errno) {
    move |error| (step, Errno::from(error))
}

fn connect(host: &str, port: u16) -> Opened {
    let deadline = Instant::now() + CONNECT_LIMIT;
    let addresses = resolver::look_up(host, deadline).map_err(|errno| ("looking up the name", errno))?;
    let mut why = Errno::ENOENT;
    let count = u32::try_from(addresses.len().clamp(1, MAX_ADDRESSES)).unwrap_or(1);
    // One that does not answer must not use up the time of the next.
    let share = CONNECT_LIMIT / count;
    for address in addresses.into_iter().take(MAX_ADDRESSES) {
        let until = deadline.min(Instant::now() + share);
        match stream::connect_tcp(SocketAddr::new(address, port), until) {
            Ok(socket) => return Ok((0, vec![socket])),
            Err(errno) => why = errno,
        }
    }
    Err(("connecting", why))
}

/// Both families on one port, as sshd does; without IPv6 in the cell, one.
fn listen_on_loopback(port: u16) -> Opened {
    let failed = |errno| ("listening", errno);
    let four = net::listen_on((Ipv4Addr::LOCALHOST, port).into()).map_err(failed)?;
    let port = net::local_address(four.as_fd()).map_err(failed)?.port();
    let six = net::listen_on((IpAddr::from(Ipv6Addr::LOCALHOST), port).into());
    Ok((port, std::iter::once(four).chain(six.ok()).collect()))
}

fn make_private(directory: &str) -> Result<(), (Step, Errno)> {
    // The mode is not cut by the umask, which has no bit of the owner's but the last.
    credentials::set_umask(0o077);
    let made = DirBuilder::new().mode(0o700).create(directory).map_err(errno("making a directory"));
    credentials::set_umask(0o177);
    made
}

/// A display on a unix socket, which only the cell's own processes can reach whatever network it has.
fn display(directory: &str, protocol: &str, cookie: &[u8]) -> Opened {
    credentials::set_umask(0);
    let made = DirBuilder::new().mode(0o1777).create(DISPLAY_DIRECTORY);
    credentials::set_umask(0o177);
    if let Err(error) = made
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(errno("making the directory of displays")(error));
    }
    for number in DISPLAYS {
        let path = display_path(number);
        match stream::listen_unix(&path) {
            Ok(socket) => {
                make_private(directory)?;
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(Path::new(directory).join(COOKIE_FILE))
                    .map_err(errno("writing the cookie"))?;
                file.write_all(&authority(number, protocol, cookie)).map_err(errno("writing the cookie"))?;
                return Ok((number, vec![socket]));
            }
            // Left by a cell's earlier client, whose connection was cut.
            Err(Errno::EADDRINUSE) if is_dead(&path) => fs::remove_file(&path).unwrap_or_default(),
            Err(Errno::EADDRINUSE) => {}
            Err(errno) => return Err(("listening", errno)),
        }
    }
    Err(("finding a display", Errno::EADDRINUSE))
}

fn display_path(number: u16) -> PathBuf {
    Path::new(DISPLAY_DIRECTORY).join(format!("X{number}"))
}

/// Whether nobody listens on a socket any more.
fn is_dead(path: &Path) -> bool {
    matches!(stream::connect_unix(path, Duration::from_secs(1)), Err(Errno::ECONNREFUSED))
}

/// One entry of an authority file: counted strings, numbers with the high byte first (Xauth(3)). The
/// lengths are those of texts that were bounded when they were asked for.
fn authority(number: u16, protocol: &str, cookie: &[u8]) -> Vec<u8> {
    let mut out = ANY_HOST.to_be_bytes().to_vec();
    for text in [b"".as_slice(), number.to_string().as_bytes(), protocol.as_bytes(), cookie] {
        out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(text);
    }
    out
}
