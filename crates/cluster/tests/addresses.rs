//! Floating addresses on real interfaces, in network namespaces that the test makes: two of them, joined by a cable.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mainstay_cluster::address::kernel::{Error, Kernel};
use mainstay_cluster::address::{Prefixed, announce, sessions};

#[path = "addresses/cable.rs"]
mod cable;

use cable::{Cable, ip};

fn prefixed(text: &str) -> Prefixed {
    text.parse().expect("an address")
}

fn lifetime(kernel: &mut Kernel, address: Prefixed) -> Option<Option<Duration>> {
    kernel
        .held("port")
        .expect("the interface's addresses")
        .into_iter()
        .find(|held| held.address == address)
        .map(|held| held.lifetime)
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within 15 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_address_goes_by_itself_unless_it_is_refreshed() {
    let cable = Cable::new();
    cable.near(|| {
        let mut kernel = Kernel::open().unwrap();
        for (kept, left) in [("10.0.1.100/24", "10.0.1.101/32"), ("2001:db8::100/64", "2001:db8::101/128")] {
            let (kept, left) = (prefixed(kept), prefixed(left));
            kernel.put(kept, "port", 60 * SECOND).unwrap();
            // Shortening counts, too, and fractions are dropped.
            kernel.put(kept, "port", Duration::from_millis(9_900)).unwrap();
            assert!(lifetime(&mut kernel, kept).flatten().unwrap() <= 9 * SECOND);
            kernel.put(left, "port", Duration::from_millis(1_900)).unwrap();
            assert!(lifetime(&mut kernel, left).flatten().unwrap() <= SECOND);
            eventually("the kernel removes what is not refreshed", || {
                kernel.put(kept, "port", 9 * SECOND).unwrap();
                lifetime(&mut kernel, left).is_none()
            });
            assert!(lifetime(&mut kernel, kept).is_some());
        }
        // The node's own addresses stay as they were.
        assert_eq!(lifetime(&mut kernel, prefixed("10.0.1.1/24")), Some(None));
        assert_eq!(lifetime(&mut kernel, prefixed("2001:db8::1/64")), Some(None));
    });
}

#[test]
fn what_is_removed_is_gone_and_what_cannot_be_done_says_why() {
    let cable = Cable::new();
    cable.near(|| {
        let mut kernel = Kernel::open().unwrap();
        for address in [prefixed("10.0.1.100/24"), prefixed("2001:db8::100/64")] {
            kernel.put(address, "port", 60 * SECOND).unwrap();
            // At once usable: neither the kernel nor the neighbours are waited for.
            TcpListener::bind(SocketAddr::new(address.ip, 0)).unwrap();
            assert!(kernel.remove(address, "port").unwrap());
            assert!(!kernel.remove(address, "port").unwrap());
            assert_eq!(lifetime(&mut kernel, address), None);
            let late = kernel.put(address, "port", Duration::from_millis(999)).unwrap_err();
            assert!(matches!(late, Error::TooLate(_)), "{late}");
            let nowhere = kernel.put(address, "nowhere0", SECOND).unwrap_err();
            assert!(nowhere.to_string().contains("`nowhere0`"), "{nowhere}");
            let nonsense = kernel.put(address, "a name that is far too long for an interface", SECOND).unwrap_err();
            assert!(matches!(nonsense, Error::NoInterface(_)), "{nonsense}");
            assert!(!kernel.remove(address, "nowhere0").unwrap());
        }
        assert!(kernel.interface("port").unwrap().running);
    });
}

#[test]
fn neighbours_learn_at_once_where_an_address_is() {
    let cable = Cable::new();
    for (address, stale) in [("10.0.1.100/32", "02:00:00:00:00:09"), ("2001:db8::100/128", "02:00:00:00:00:08")] {
        let address = prefixed(address);
        let text = address.ip.to_string();
        // The neighbour believes that another machine has it.
        ip(&["-n", &cable.far, "neigh", "replace", &text, "lladdr", stale, "dev", "port", "nud", "stale"]);
        let hardware = cable.near(|| {
            let mut kernel = Kernel::open().unwrap();
            let interface = kernel.put(address, "port", 60 * SECOND).unwrap();
            announce::burst(address.ip, &interface).unwrap();
            interface.hardware
        });
        let hardware: Vec<String> = hardware.iter().map(|byte| format!("{byte:02x}")).collect();
        eventually("the neighbour knows", || {
            ip(&["-n", &cable.far, "neigh", "show", "to", &text]).contains(&hardware.join(":"))
        });
    }
    cable.near(|| {
        let loopback = Kernel::open().unwrap().interface("lo").unwrap();
        // Loopback has a hardware address of zeros; nobody is there to be told, and nothing fails.
        announce::burst("127.0.0.1".parse().unwrap(), &loopback).unwrap();
        announce::permitted().unwrap();
    });
}

#[test]
fn connections_of_an_address_are_reset_and_no_others() {
    let cable = Cable::new();
    for ip in ["10.0.1.100", "2001:db8::100"] {
        let floating: IpAddr = ip.parse().unwrap();
        let own: IpAddr = if floating.is_ipv4() { "10.0.1.1" } else { "2001:db8::1" }.parse().unwrap();
        // Listens for both families, as gateways do that bind `[::]`.
        let listener = cable.near(|| {
            let address = Prefixed::alone(floating);
            Kernel::open().unwrap().put(address, "port", 60 * SECOND).unwrap();
            let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
            socket.set_only_v6(false).unwrap();
            socket.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            socket.listen(16).unwrap();
            TcpListener::from(socket)
        });
        let port = listener.local_addr().unwrap().port();
        let connect = |to: IpAddr| {
            let client = TcpStream::connect_timeout(&SocketAddr::new(to, port), 10 * SECOND).unwrap();
            client.set_read_timeout(Some(10 * SECOND)).unwrap();
            client
        };
        let (mut moved, mut stays) = cable.within(&cable.far, || (connect(floating), connect(own)));
        let _moved_server = listener.accept().unwrap().0;
        let mut stays_server = listener.accept().unwrap().0;
        assert_eq!(cable.near(|| sessions::reset(floating, sessions::AT_ONCE_MAX)).unwrap(), 1);
        assert_eq!(moved.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        stays_server.write_all(b"x").unwrap();
        stays.read_exact(&mut [0; 1]).unwrap();
        // Whoever listens goes on.
        cable.within(&cable.far, || connect(floating));
    }
}
