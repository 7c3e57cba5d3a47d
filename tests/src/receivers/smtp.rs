//! A mail server that keeps what it is given: as much of SMTP (RFC 5321) as a client needs that sends one mail in the clear.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// A mail that was taken, or refused at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Of the envelope.
    pub from: String,
    /// Of the envelope.
    pub to: Vec<String>,
    /// Headers and text.
    pub text: String,
    /// What it was answered with.
    pub answer: u16,
}

impl Mail {
    /// A header's value, as it was written.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Listens until its runtime ends. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<Mail>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Mailbox {
    /// Listens on a free port, and takes everything.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mailbox = Self {
            address: listener.local_addr()?,
            kept: Arc::default(),
            answers: Arc::default(),
        };
        let server = mailbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // A client that goes away in between has sent no mail.
                tokio::spawn(async move { server.converse(stream).await });
            }
        });
        Ok(mailbox)
    }

    /// The variables that have the programs send their mails here.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("SMTP_HOST", self.address.ip().to_string()),
            ("SMTP_PORT", self.address.port().to_string()),
            ("SMTP_TLS", "none".to_owned()),
            ("SMTP_FROM", "alerts@quittance.example".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Answers these to whole mails from now on, one after the other, then 250 again.
    pub fn answer(&self, codes: &[u16]) {
        lock(&self.answers).extend(codes);
    }

    /// What came, in order.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.kept).clone()
    }

    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut mail = Mail {
            from: String::new(),
            to: Vec::new(),
            text: String::new(),
            answer: 0,
        };
        stream.write_all(b"220 mail.example\r\n").await?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let word = line
                .split([' ', ':', '\r'])
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            match word.as_str() {
                "EHLO" | "HELO" => stream.write_all(b"250 mail.example\r\n").await?,
                "MAIL" => {
                    mail.from = address;
                    stream.write_all(b"250 ok\r\n").await?;
                }
                "RCPT" => {
                    mail.to.push(address);
                    stream.write_all(b"250 ok\r\n").await?;
                }
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    mail.text = read_text(&mut stream).await?;
                    mail.answer = lock(&self.answers).pop_front().unwrap_or(250);
                    lock(&self.kept).push(mail.clone());
                    stream
                        .write_all(format!("{} so be it\r\n", mail.answer).as_bytes())
                        .await?;
                }
                "QUIT" => return stream.write_all(b"221 bye\r\n").await,
                _ => stream.write_all(b"502 what\r\n").await?,
            }
        }
    }
}

/// Up to the dot, with dots at the beginning of lines undoubled.
async fn read_text(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
