//! Killing the server under load, and holding it to what it acknowledged.
//!
//! Writers at each level keep a ledger: what was sent, and what was answered by OK. After SIGKILL
//! and a restart
//! - every key whose write was acknowledged is there with its value;
//! - a key that is overwritten again and again shows a version not older than the last one
//!   acknowledged, and not newer than the last one sent.
//!
//! That holds at every level: a killed process is no power cut, so `buffered` writes survive too.

use super::load::WRONG;
use super::server::Place;
use super::show::Progress;
use ringfort::Level;
use ringfort_bench::resp::Client;
use ringfort_host::door;
use ringfort_protocol::front::resp::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The levels of the writers.
const WRITERS: [Level; 4] = [Level::Fresh, Level::Fresh, Level::Durable, Level::Buffered];
/// Commands under way at once, per writer.
const PIPELINE: u64 = 16;
/// Keys that are overwritten, per writer.
const HOT_KEYS: u64 = 8;

/// What a writer sent and what was acknowledged.
pub(crate) struct Ledger {
    writer: String,
    acknowledged: u64,
    sent: u64,
}

fn value(writer: &str, nth: u64) -> Vec<u8> {
    let mut value = format!("{nth} by {writer} ").into_bytes();
    value.resize(200 + (nth % 300) as usize, b'a' + (nth % 26) as u8);
    value
}

/// One round: load, kill, restart, verify. Returns the ledgers, to be verified again later.
pub(crate) fn round(
    place: &Place,
    nth: usize,
    time: Duration,
    progress: &Progress,
) -> Result<Vec<Ledger>, String> {
    let server = place.must_start()?;
    let ended = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for (writer, level) in WRITERS.into_iter().enumerate() {
        let name = format!("{nth}.{writer}.{level}");
        let (address, ended) = (server.address.clone(), Arc::clone(&ended));
        let run = move || write_until_cut_off(&address, name, level, &ended);
        threads.push(door::spawn("demo-writer", run).map_err(|e| e.to_string())?);
    }
    door::sleep(time);
    server.kill().map_err(|e| e.to_string())?;
    ended.store(true, Ordering::Release);
    let mut ledgers = Vec::new();
    for thread in threads {
        ledgers.push(thread.join().map_err(|_| "a writer ended early".to_owned())??);
    }
    if ledgers.iter().all(|ledger| ledger.acknowledged == 0) {
        return Err("no write was acknowledged before the kill".to_owned());
    }
    let server = place.must_start()?;
    let mut client = Client::connect(&server.address).map_err(|e| e.to_string())?;
    for (done, ledger) in ledgers.iter().enumerate() {
        progress.at("verifying what was acknowledged", done as u64, ledgers.len() as u64);
        ledger.verify(&mut client)?;
    }
    server.stop()?;
    Ok(ledgers)
}

/// Writes until the connection breaks, which must be the kill's doing.
fn write_until_cut_off(
    address: &str,
    writer: String,
    level: Level,
    killed: &AtomicBool,
) -> Result<Ledger, String> {
    let mut client = Client::connect(address).map_err(|e| e.to_string())?;
    client.ok(&[b"LEVEL", level.name().as_bytes()]).map_err(|e| e.to_string())?;
    let mut ledger = Ledger::new(&writer);
    loop {
        if ledger.send_batch(&mut client).is_err() {
            return ledger.cut_off(killed);
        }
        for _ in 0..PIPELINE {
            for _ in 0..2 {
                match client.reply() {
                    Ok(reply) if reply.is_ok() => {}
                    Ok(other) => return Err(format!("a write was answered by {other:?}")),
                    Err(_) => return ledger.cut_off(killed),
                }
            }
            ledger.acknowledged += 1;
        }
    }
}

impl Ledger {
    /// A ledger in which nothing is written yet.
    pub(crate) fn new(writer: &str) -> Self {
        Self { writer: writer.to_owned(), acknowledged: 0, sent: 0 }
    }

    /// How many writes were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Writes `count` more keys, all of which must be acknowledged.
    pub(crate) fn write(&mut self, client: &mut Client, count: u64) -> Result<(), String> {
        for _ in 0..count.div_ceil(PIPELINE) {
            self.send_batch(client).map_err(|e| e.to_string())?;
            for _ in 0..PIPELINE * 2 {
                let reply = client.reply().map_err(|e| e.to_string())?;
                if !reply.is_ok() {
                    return Err(format!("a write was answered by {reply:?}"));
                }
            }
            self.acknowledged = self.sent;
        }
        Ok(())
    }

    fn send_batch(&mut self, client: &mut Client) -> std::io::Result<()> {
        let batch = self.sent..self.sent + PIPELINE;
        for nth in batch.clone() {
            let value = value(&self.writer, nth);
            client.queue(&[b"SET", self.key(nth).as_bytes(), &value]);
            client.queue(&[b"SET", self.hot_key(nth).as_bytes(), &value]);
        }
        // Sent as far as anybody can know, even if sending fails.
        self.sent = batch.end;
        client.send()
    }

    fn cut_off(self, killed: &AtomicBool) -> Result<Self, String> {
        // The socket breaks a moment before the one who kills has said so.
        for _ in 0..1000 {
            if killed.load(Ordering::Acquire) {
                return Ok(self);
            }
            door::sleep(Duration::from_millis(2));
        }
        Err("the server hung up without being killed".to_owned())
    }

    fn key(&self, nth: u64) -> String {
        format!("kill:{}:{nth}", self.writer)
    }

    fn hot_key(&self, nth: u64) -> String {
        format!("hot:{}:{}", self.writer, nth % HOT_KEYS)
    }

    /// Holds the server to the ledger.
    pub(crate) fn verify(&self, client: &mut Client) -> Result<(), String> {
        const AT_ONCE: u64 = 512;
        for begin in (0..self.acknowledged).step_by(AT_ONCE as usize) {
            let part = begin..(begin + AT_ONCE).min(self.acknowledged);
            for nth in part.clone() {
                client.queue(&[b"GET", self.key(nth).as_bytes()]);
            }
            client.send().map_err(|e| e.to_string())?;
            for nth in part {
                let reply = client.reply().map_err(|e| e.to_string())?;
                if reply.as_bytes() != Some(&value(&self.writer, nth)) {
                    return Err(wrong(&self.key(nth), &reply, "it was acknowledged"));
                }
            }
        }
        for hot in 0..HOT_KEYS.min(self.acknowledged) {
            let last = (0..self.acknowledged).rev().find(|nth| nth % HOT_KEYS == hot).unwrap_or(hot);
            let reply = client.call(&[b"GET", self.hot_key(hot).as_bytes()]).map_err(|e| e.to_string())?;
            let fine = (last..self.sent)
                .filter(|nth| nth % HOT_KEYS == hot)
                .any(|nth| reply.as_bytes() == Some(&value(&self.writer, nth)));
            if !fine {
                return Err(wrong(&self.hot_key(hot), &reply, &format!("version {last} was acknowledged")));
            }
        }
        Ok(())
    }
}

fn wrong(key: &str, reply: &Value, why: &str) -> String {
    match reply.as_bytes() {
        Some(bytes) => {
            let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(24)]);
            format!("{WRONG} {key}: '{begin}…', but {why}")
        }
        None if reply.as_error().is_some() => format!("GET {key} was answered by {reply:?}"),
        None => format!("{WRONG} {key}: it is missing, but {why}"),
    }
}
