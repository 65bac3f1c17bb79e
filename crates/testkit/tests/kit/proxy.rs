//! What a client sees of each fault.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use inkstone_testkit::{Counts, Fault, Proxy, Toward, wait_until};

/// A server that gives back what it gets, and ends when its client does.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let socket = socket.unwrap();
            std::thread::spawn(move || std::io::copy(&mut &socket, &mut &socket));
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect(proxy.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

/// Sends something and reads as much; less if no more comes.
fn exchange(mut socket: &TcpStream, text: &str) -> Result<String, ErrorKind> {
    socket.write_all(text.as_bytes()).map_err(|error| error.kind())?;
    receive(socket, text.len())
}

fn receive(mut socket: &TcpStream, length: usize) -> Result<String, ErrorKind> {
    let mut answer = vec![0; length];
    let mut read = 0;
    while read < length {
        match socket.read(&mut answer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) => return Err(error.kind()),
        }
    }
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

/// Whether nothing comes for a while.
fn is_silent(mut socket: &TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let silent = socket.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    silent
}

#[test]
fn without_a_fault_all_goes_through() {
    let proxy = Proxy::start(echo());
    let socket = connect(&proxy);
    let much = "0123456789abcdef".repeat(100_000);
    std::thread::scope(|scope| {
        scope.spawn(|| (&socket).write_all(much.as_bytes()).unwrap());
        assert_eq!(receive(&socket, much.len()).unwrap(), much);
    });
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(receive(&socket, 1).unwrap(), "", "FIN goes to the server and comes back");
    wait_until("the connection is over", || proxy.counts().open == 0);
    let bytes = much.len() as u64;
    assert_eq!(proxy.counts(), Counts { accepted: 1, to_server: bytes, to_client: bytes, ..Counts::default() });
}

#[test]
fn a_cut_is_a_reset_at_both_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    let client = connect(&proxy);
    let (server, _) = listener.accept().unwrap();
    (&client).write_all(b"x").unwrap();
    assert_eq!(receive(&server, 1).unwrap(), "x");
    proxy.set(Fault::Reset);
    assert_eq!(receive(&client, 1), Err(ErrorKind::ConnectionReset));
    assert_eq!(receive(&server, 1), Err(ErrorKind::ConnectionReset));
    assert_eq!(receive(&connect(&proxy), 1), Err(ErrorKind::ConnectionReset), "new ones are cut too");
    proxy.set(Fault::None);
    let client = connect(&proxy);
    let (server, _) = listener.accept().unwrap();
    drop((&server).write_all(b"y"));
    assert_eq!(receive(&client, 1).unwrap(), "y");
    wait_until("both cuts are counted", || proxy.counts().reset == 2);
}

#[test]
fn a_reset_of_one_side_reaches_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    let client = connect(&proxy);
    let (server, _) = listener.accept().unwrap();
    (&client).write_all(b"never read").unwrap();
    wait_until("it has arrived", || proxy.counts().to_server == 10);
    // Closed with something unread: the kernel sends RST.
    drop(server);
    assert_eq!(receive(&client, 1), Err(ErrorKind::ConnectionReset));
}

#[test]
fn who_is_refused_is_refused_by_the_kernel() {
    let proxy = Proxy::start(echo());
    let old = connect(&proxy);
    assert_eq!(exchange(&old, "old").unwrap(), "old");
    proxy.set_new(Fault::Refuse);
    assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(exchange(&old, "still").unwrap(), "still", "the fault is for new connections");
    proxy.set(Fault::Refuse);
    assert_eq!(receive(&old, 1), Err(ErrorKind::ConnectionReset));
    proxy.set(Fault::None);
    assert_eq!(exchange(&connect(&proxy), "new").unwrap(), "new");
}

#[test]
fn a_connection_hangs_and_goes_on() {
    let proxy = Proxy::start(echo());
    let socket = connect(&proxy);
    assert_eq!(exchange(&socket, "before").unwrap(), "before");
    proxy.set(Fault::Hang(Toward::Both));
    let other = connect(&proxy);
    wait_until("both are accepted", || proxy.counts().accepted == 2);
    (&socket).write_all(b"during").unwrap();
    (&other).write_all(b"during").unwrap();
    assert!(is_silent(&socket) && is_silent(&other));
    assert_eq!(proxy.counts().to_server, 6);
    proxy.set_existing(Fault::None);
    assert_eq!(receive(&socket, 6).unwrap(), "during");
    assert_eq!(receive(&other, 6).unwrap(), "during");
    (&connect(&proxy)).write_all(b"x").unwrap();
    assert_eq!(proxy.counts().to_server, 18, "those to come still hang");
}

#[test]
fn answers_are_lost_though_the_request_was_heard() {
    let proxy = Proxy::start(echo());
    let socket = connect(&proxy);
    proxy.set(Fault::Swallow(Toward::Client));
    (&socket).write_all(b"lost").unwrap();
    wait_until("the server has it", || proxy.counts().to_server == 4);
    assert!(is_silent(&socket));
    proxy.set(Fault::None);
    assert_eq!(exchange(&socket, "kept").unwrap(), "kept", "what was swallowed never comes");
    proxy.set(Fault::Swallow(Toward::Server));
    (&socket).write_all(b"unheard").unwrap();
    assert!(is_silent(&socket));
    assert_eq!(proxy.counts().to_server, 8);
}

/// The server may have accepted a connection before the proxy knows it: nothing may connect again.
#[test]
fn a_fault_that_comes_while_connecting_connects_no_second_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    for round in 0..200 {
        let client = connect(&proxy);
        for _ in 0..20 {
            proxy.set(Fault::Delay(Duration::ZERO));
            proxy.set(Fault::None);
        }
        let (server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (&client).write_all(b"hello").unwrap();
        assert_eq!(receive(&server, 5).unwrap(), "hello", "round {round}");
    }
}

#[test]
fn half_open_is_open_the_other_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    let client = connect(&proxy);
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    proxy.set(Fault::Finish(Toward::Client));
    assert_eq!(receive(&client, 1).unwrap(), "", "the client sees the end");
    (&client).write_all(b"goes on").unwrap();
    assert_eq!(receive(&server, 7).unwrap(), "goes on");
    (&server).write_all(b"nobody hears this").unwrap();
    drop(client);
    assert_eq!(receive(&server, 1).unwrap(), "");
    drop(server);
    wait_until("it is over", || proxy.counts().open == 0);
    assert_eq!((proxy.counts().to_client, proxy.counts().reset), (0, 0));
}

#[test]
fn a_connection_is_cut_after_so_many_bytes() {
    let proxy = Proxy::start(echo());
    let socket = connect(&proxy);
    assert_eq!(exchange(&socket, "these do not count").unwrap(), "these do not count");
    proxy.set(Fault::ResetAfter { toward: Toward::Client, bytes: 5 });
    (&socket).write_all(b"hello world").unwrap();
    assert_eq!(receive(&socket, 5).unwrap(), "hello");
    assert_eq!(receive(&socket, 1), Err(ErrorKind::ConnectionReset));
    let again = connect(&proxy);
    (&again).write_all(b"HELLO WORLD").unwrap();
    assert_eq!(receive(&again, 5).unwrap(), "HELLO", "each connection has its own count");
    assert_eq!(receive(&again, 1), Err(ErrorKind::ConnectionReset));
}

#[test]
fn what_is_delayed_comes_late_and_at_once_when_that_is_over() {
    let proxy = Proxy::start(echo());
    let socket = connect(&proxy);
    proxy.set(Fault::Delay(Duration::from_millis(1)));
    assert_eq!(exchange(&socket, "in order").unwrap(), "in order");
    proxy.set(Fault::Delay(Duration::from_hours(1)));
    (&socket).write_all(b"in an hour").unwrap();
    assert!(is_silent(&socket));
    proxy.set(Fault::None);
    assert_eq!(receive(&socket, 10).unwrap(), "in an hour");
}

#[test]
fn a_slow_line_is_slow_but_loses_nothing() {
    let proxy = Proxy::start(echo());
    let socket = connect(&proxy);
    proxy.set(Fault::Throttle { bytes_per_second: 100_000 });
    let text = "0123456789".repeat(1000);
    assert_eq!(exchange(&socket, &text).unwrap(), text);
    // One byte a second: of 10,000 hardly any are through before the fault ends.
    proxy.set(Fault::Throttle { bytes_per_second: 1 });
    let before = proxy.counts().to_server;
    (&socket).write_all(text.as_bytes()).unwrap();
    assert_eq!(receive(&socket, 1).unwrap(), "0");
    assert!(proxy.counts().to_server < before + 5_000);
    proxy.set(Fault::None);
    assert_eq!(receive(&socket, text.len() - 1).unwrap(), text[1..]);
}

#[test]
fn a_server_that_is_gone_is_a_reset_until_there_is_another() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(gone);
    assert_eq!(receive(&connect(&proxy), 1), Err(ErrorKind::ConnectionReset));
    wait_until("it is counted", || proxy.counts().unreachable == 1);
    proxy.forward_to(echo());
    assert_eq!(exchange(&connect(&proxy), "found").unwrap(), "found");
    let (address, socket) = (proxy.address(), connect(&proxy));
    drop(proxy);
    assert!(TcpStream::connect(address).is_err());
    assert_ne!(receive(&socket, 1), Ok("x".to_owned()), "nothing stays open");
}
