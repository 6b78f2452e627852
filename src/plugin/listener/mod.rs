//! `Listener`: where clients come in. Binds the addresses that `serve` is given, TCP in both families or a Unix socket, and
//! turns what it accepts into one type.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener, lookup_host};

use crate::authority::PlainAuthority;
use crate::cli::Network;
use crate::connection::{Connection, Io, Stop};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// A failed accept mostly means that the process has no file descriptor left; asking again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a free port of one family may turn out to be taken in the other.
const PORT_TRIES: usize = 16;

/// A bound address. A socket file that it created is removed when it is dropped.
#[derive(Debug)]
pub struct Listener(Sockets);

#[derive(Debug)]
enum Sockets {
    Tcp(Vec<TcpListener>),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Binds `address`. For TCP that is `host:port`, where an empty host means every interface and port 0 a free one;
    /// `localhost` means both loopbacks, because Go's clients take the IPv4 one and Python's the other. For a Unix
    /// socket it is a path at which there is nothing.
    pub async fn bind(network: Network, address: &str) -> io::Result<Self> {
        if network == Network::Unix {
            let socket = UnixListener::bind(address)?;
            return Ok(Self(Sockets::Unix(socket, SocketFile::new(address)?)));
        }
        let addresses = resolve(network, address).await?;
        let free_port = addresses.iter().all(|address| address.port() == 0);
        let mut tries = if free_port { PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            match bind_all(&addresses) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                bound => return bound.map(|sockets| Self(Sockets::Tcp(sockets))),
            }
        }
    }

    /// The address in the form that a client dials: `host:port` of the first socket, or the path.
    pub fn local_addr(&self) -> io::Result<String> {
        match &self.0 {
            Sockets::Tcp(sockets) => {
                let first = sockets.first().ok_or(io::ErrorKind::NotConnected)?;
                first.local_addr().map(|address| address.to_string())
            }
            Sockets::Unix(_, file) => Ok(file.path.display().to_string()),
        }
    }

    /// Everyone who connects. All connections end with `stop`.
    pub(crate) fn connections(self, stop: Stop) -> impl Stream<Item = io::Result<Connection>> {
        futures::stream::unfold((self, stop), |(listener, stop)| async move {
            loop {
                match poll_fn(|cx| listener.poll_accept(cx)).await {
                    Ok(io) => {
                        let connection = Connection::new(io, stop.clone());
                        return Some((Ok(connection), (listener, stop)));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Io>>> {
        match &self.0 {
            Sockets::Tcp(sockets) => {
                for socket in sockets {
                    if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                        return Poll::Ready(accepted.and_then(|(stream, _)| {
                            // Answers are small messages that somebody waits for.
                            stream.set_nodelay(true)?;
                            Ok(Box::new(stream) as Box<dyn Io>)
                        }));
                    }
                }
                Poll::Pending
            }
            Sockets::Unix(socket, _) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| Box::new(PlainAuthority::new(stream)) as Box<dyn Io>),
        }
    }
}

/// The addresses to bind, at most one of each family, the preferred one first.
async fn resolve(network: Network, address: &str) -> io::Result<Vec<SocketAddr>> {
    let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| invalid("the address has no port; it is written host:port"))?;
    let port: u16 = port
        .parse()
        .map_err(|_| invalid("the port is not a number from 0 to 65535"))?;
    let found: Vec<SocketAddr> = match host {
        // Not the resolver's business: nothing that can be slow or missing may come before listening.
        "localhost" => both(Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), port),
        "" | "[::]" => both(
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv4Addr::UNSPECIFIED.into(),
            port,
        ),
        _ => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            lookup_host((host, port)).await?.collect()
        }
    };
    let mut chosen: Vec<SocketAddr> = Vec::new();
    for address in found {
        let fits = match network {
            Network::Tcp4 => address.is_ipv4(),
            Network::Tcp6 => address.is_ipv6(),
            Network::Tcp | Network::Unix => true,
        };
        if fits
            && chosen
                .iter()
                .all(|have| have.is_ipv4() != address.is_ipv4())
        {
            chosen.push(address);
        }
    }
    if chosen.is_empty() {
        return Err(invalid("the host has no address of this kind"));
    }
    Ok(chosen)
}

fn both(first: IpAddr, second: IpAddr, port: u16) -> Vec<SocketAddr> {
    [first, second].map(|ip| SocketAddr::new(ip, port)).into()
}

/// Binds every address whose family the machine has, all with the same port.
fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut port = None;
    let mut failure = None;
    for address in addresses {
        // One socket for both wildcards; a second one would find the port taken.
        let dual = address.ip() == Ipv6Addr::UNSPECIFIED && addresses.len() > 1;
        match bind_one(
            SocketAddr::new(address.ip(), port.unwrap_or(address.port())),
            dual,
        ) {
            Ok(socket) => {
                port = Some(socket.local_addr()?.port());
                sockets.push(socket);
                if dual {
                    break;
                }
            }
            // Whoever has the port in the other family would get a part of our clients.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

fn bind_one(address: SocketAddr, dual: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A port whose last connections are still in TIME_WAIT counts as free.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// The file of a Unix socket, known by its inode: what somebody put in its place is not ours to remove.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn new(path: &str) -> io::Result<Self> {
        let path = PathBuf::from(path);
        let inode = inode(&path)?;
        Ok(Self { path, inode })
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(error = %error, path = %self.path.display(), "cannot remove the socket");
        }
    }
}

#[cfg(test)]
mod tests;
