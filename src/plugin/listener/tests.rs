//! What each kind of address binds, and whose socket files are removed.

use std::net::TcpStream;

use super::*;

fn ports(listener: &Listener) -> Vec<SocketAddr> {
    match &listener.0 {
        Sockets::Tcp(sockets) => sockets.iter().map(|s| s.local_addr().unwrap()).collect(),
        Sockets::Unix(..) => panic!("a unix socket"),
    }
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[tokio::test]
async fn localhost_is_both_loopbacks_and_a_wildcard_both_families() {
    for (network, address, v4, v6) in [
        (Network::Tcp, "localhost:0", true, true),
        (Network::Tcp4, "localhost:0", true, false),
        (Network::Tcp6, "localhost:0", false, true),
        (Network::Tcp, "[::]:0", true, true),
        (Network::Tcp, ":0", true, true),
        (Network::Tcp4, ":0", true, false),
        (Network::Tcp6, "[::]:0", false, true),
        (Network::Tcp, "127.0.0.1:0", true, false),
        (Network::Tcp, "0.0.0.0:0", true, false),
        (Network::Tcp, "[::1]:0", false, true),
    ] {
        if !v4 && !has_ipv6() {
            continue;
        }
        let listener = Listener::bind(network, address).await.unwrap();
        let bound = ports(&listener);
        let port = bound[0].port();
        assert!(
            bound
                .iter()
                .all(|address| address.port() == port && port != 0),
            "{bound:?}"
        );
        assert!(
            listener
                .local_addr()
                .unwrap()
                .ends_with(&format!(":{port}"))
        );
        let reached = |ip: IpAddr| TcpStream::connect((ip, port)).is_ok();
        assert_eq!(
            reached(Ipv4Addr::LOCALHOST.into()),
            v4,
            "{network:?} {address}"
        );
        assert_eq!(
            reached(Ipv6Addr::LOCALHOST.into()),
            v6 && has_ipv6(),
            "{network:?} {address}"
        );
    }
}

#[tokio::test]
async fn addresses_that_cannot_be_bound() {
    for (network, address, kind) in [
        (Network::Tcp, "localhost", io::ErrorKind::InvalidInput),
        (Network::Tcp, "localhost:http", io::ErrorKind::InvalidInput),
        (Network::Tcp, "localhost:70000", io::ErrorKind::InvalidInput),
        (Network::Tcp6, "127.0.0.1:0", io::ErrorKind::InvalidInput),
        (
            Network::Unix,
            "/nonexistent/folder/socket",
            io::ErrorKind::NotFound,
        ),
    ] {
        let error = Listener::bind(network, address).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{address}");
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_in_either_family() {
    for holder in ["127.0.0.1:0", "[::1]:0"] {
        if holder.starts_with('[') && !has_ipv6() {
            continue;
        }
        let holder = Listener::bind(Network::Tcp, holder).await.unwrap();
        let address = format!("localhost:{}", ports(&holder)[0].port());
        let error = Listener::bind(Network::Tcp, &address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cq-plugin-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[tokio::test]
async fn socket_files() {
    let folder = folder("listener");
    let path = folder.join("socket");
    let address = path.to_str().unwrap();

    let listener = Listener::bind(Network::Unix, address).await.unwrap();
    assert_eq!(listener.local_addr().unwrap(), address);
    let again = Listener::bind(Network::Unix, address).await.unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    assert!(path.exists(), "what was there stays");
    drop(listener);
    assert!(!path.exists(), "our own is removed");

    std::fs::write(&path, "somebody's").unwrap();
    let file = Listener::bind(Network::Unix, address).await.unwrap_err();
    assert_eq!(file.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
    std::fs::remove_file(&path).unwrap();

    let listener = Listener::bind(Network::Unix, address).await.unwrap();
    // Kept under another name, so that its inode is not given out again.
    std::fs::rename(&path, folder.join("moved")).unwrap();
    std::fs::write(&path, "somebody's").unwrap();
    drop(listener);
    assert!(path.exists(), "what took its place is not ours");

    std::fs::remove_dir_all(folder).unwrap();
}
