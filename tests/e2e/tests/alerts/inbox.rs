//! Receivers of alerts: small servers that remember what they were told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mainstay_e2e::eventually;
use serde_json::Value;

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It takes messages and confirms them.
    Works,
    /// It answers 500, and remembers nothing.
    Refuses,
    /// It answers after two seconds, and remembers nothing.
    Slow,
    /// It takes messages and does not answer before a minute has passed.
    Silent,
}

/// A receiver over HTTP.
#[derive(Clone, Debug)]
pub struct Inbox {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Inbox {
    pub fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    pub fn start_on(address: SocketAddr) -> Self {
        Self::serve(TcpListener::bind(address).expect("the port"))
    }

    fn serve(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("its address");
        let inbox = Self { address, mood: Arc::new(Mutex::new(Mood::Works)), bodies: Arc::default() };
        let serving = inbox.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let inbox = serving.clone();
                thread::spawn(move || inbox.take(client));
            }
        });
        inbox
    }

    /// One message of one connection; whoever has more makes another.
    fn take(&self, client: TcpStream) {
        let mut reader = BufReader::new(client.try_clone().expect("a copy"));
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mood = *self.mood.lock().expect("not poisoned");
        if matches!(mood, Mood::Works | Mood::Silent) {
            self.bodies.lock().expect("not poisoned").push(serde_json::from_slice(&body).expect("JSON"));
        }
        let status = if mood == Mood::Refuses { "500 Internal Server Error" } else { "202 Accepted" };
        match mood {
            Mood::Slow => thread::sleep(Duration::from_secs(2)),
            Mood::Silent => thread::sleep(Duration::from_secs(60)),
            Mood::Works | Mood::Refuses => {}
        }
        let mut client = client;
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
        let _gone = client.write_all(answer.as_bytes());
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().expect("not poisoned") = mood;
    }

    pub fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().expect("not poisoned").clone()
    }

    pub fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        eventually(what, Duration::from_secs(40), || self.bodies().iter().any(&is_it));
    }
}

/// A mail server.
#[derive(Clone, Debug)]
pub struct Mail {
    port: u16,
    text: Arc<Mutex<String>>,
}

impl Mail {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything that was sent to it, line by line.
    pub fn text(&self) -> String {
        self.text.lock().expect("not poisoned").clone()
    }

    fn take(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        client.write_all(b"220 here\r\n")?;
        let mut in_letter = false;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            self.text.lock().expect("not poisoned").push_str(&line);
            let answer: &[u8] = match (in_letter, line.trim_end()) {
                (true, ".") => {
                    in_letter = false;
                    b"250 taken\r\n"
                }
                (true, _) => continue,
                (false, "DATA") => {
                    in_letter = true;
                    b"354 go on\r\n"
                }
                (false, "QUIT") => b"221 bye\r\n",
                (false, _) => b"250 fine\r\n",
            };
            client.write_all(answer)?;
        }
    }
}

pub fn mail() -> Mail {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mail = Mail { port: listener.local_addr().expect("its address").port(), text: Arc::default() };
    let serving = mail.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mail = serving.clone();
            thread::spawn(move || mail.take(client));
        }
    });
    mail
}
