//! Transactions on a server that speaks RESP: Ringfort, Redis, or another that is compatible.
//!
//! Each client has a connection of its own. A transaction is what a user of such a server would write:
//!
//! ```text
//!  one operation        GET k  |  SET k v                            atomic as it is, one round trip
//!  blind writes, reads  MULTI, GET r, SET w v, …, EXEC               one round trip; EXEC returns what was read
//!  read-modify-write    WATCH k, GET k │ MULTI, SET k v, …, EXEC     two; begun again where EXEC is answered by nil
//!  interactive          TXN BEGIN │ GET k │ SET k v │ … │ TXN COMMIT a round trip each, for Ringfort
//! ```
//!
//! Keys are RESP's, so there is no ordered scan of them that every server knows (SCAN has no order): workload E is
//! refused. Keys go to database 0 and stay there.

use super::client::{Operation, Session, Step};
use super::{Mix, Outcome, Plan, load_by, run_on};
use crate::Result;
use crate::resp::Client;
use crate::rng::Lehmer;
use crate::values::Values;
use ringfort_base::Level;
use ringfort_host::door;
use ringfort_protocol::front::resp::Value;
use std::time::Duration;

/// Codes of errors after which an interactive transaction is to be begun again: it wrote nothing.
const BEGIN_AGAIN: [&[u8]; 3] = [b"CONFLICT ", b"DEADLOCK ", b"LOCKTIMEOUT "];
/// A pause between two tries is up to this, doubled for each try.
const PAUSE: Duration = Duration::from_micros(50);
const PAUSE_DOUBLED_MAX: u32 = 8;

/// How transactions are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// MULTI and EXEC, with WATCH where a write depends on a read.
    Multi,
    /// Ringfort's `TXN BEGIN` and `TXN COMMIT`.
    Interactive {
        /// By a check at the commit instead of locks.
        is_optimistic: bool,
    },
}

/// A server.
#[derive(Clone, Debug)]
pub struct Remote {
    address: String,
    /// What replies wait for, where the server knows levels; its own if not said.
    pub level: Option<Level>,
    /// How transactions are written.
    pub style: Style,
}

impl Remote {
    /// The server at `resp://host:port`.
    ///
    /// # Errors
    /// Sentences about what is wrong with `target`.
    pub fn parse(target: &str) -> Result<Self> {
        let (scheme, address) = target.split_once("://").ok_or("a target is written resp://HOST:PORT")?;
        match scheme {
            "resp" => {}
            "rediss" | "resps" => {
                let why = format!("{scheme}: connections by TLS are not possible yet; use resp://HOST:PORT");
                return Err(why.into());
            }
            _ => return Err(format!("{scheme}: unknown; a target is written resp://HOST:PORT").into()),
        }
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.is_none_or(|port| port.parse::<u16>().is_err()) || address.contains(['/', '@']) {
            return Err(format!("{address}: a target is written resp://HOST:PORT, and nothing else").into());
        }
        Ok(Self { address: address.to_owned(), level: None, style: Style::Multi })
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the server says that it is.
    ///
    /// # Errors
    /// If nobody answers there.
    pub fn about(&self) -> Result<String> {
        let reply = self.connect()?.client.call(&[b"INFO", b"server"])?;
        let text = reply.as_bytes().map(String::from_utf8_lossy).unwrap_or_default();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim).map(str::to_owned))
        };
        let version =
            |name: &str| field(&format!("{name}_version")).map(|version| format!("{name} {version}"));
        let about = version("ringfort").or_else(|| version("redis"));
        Ok(format!("{} at {}", about.unwrap_or_else(|| "a server".to_owned()), self.address))
    }

    fn connect(&self) -> Result<Connection> {
        let named = |error: std::io::Error| format!("{}: {error}", self.address);
        let mut client = Client::connect(&self.address).map_err(named)?;
        if let Some(level) = self.level {
            let why = |error| format!("{}: LEVEL {}: {error}", self.address, level.name());
            client.ok(&[b"LEVEL", level.name().as_bytes()]).map_err(why)?;
        }
        Ok(Connection { client, style: self.style, random: Lehmer::new(1) })
    }
}

/// Loads the records, by pipelines of SET.
///
/// # Errors
/// Those of the connection and of the server.
pub fn load(remote: &Remote, plan: &Plan) -> Result<()> {
    check(plan)?;
    let mut connection = remote.connect()?;
    load_by(plan, &mut |entries| {
        entries.iter().for_each(|(key, value)| connection.client.queue(&[b"SET", key, value]));
        connection.client.send()?;
        entries.iter().try_for_each(|_| expect_ok(&connection.client.reply()?, "SET"))
    })?;
    Ok(())
}

/// Runs the mix on loaded records, over a connection for each client.
///
/// # Errors
/// Those of the connections and of the server; a conflict is none.
pub fn run(remote: &Remote, plan: &Plan) -> Result<Outcome> {
    check(plan)?;
    let sessions = (0..plan.clients).map(|number| {
        let connection = remote.connect()?;
        // Those that met each other are not to wait for as long again.
        Ok(Connection { random: Lehmer::new(number as u32 + 1), ..connection })
    });
    run_on(plan, sessions.collect::<Result<Vec<_>>>()?)
}

fn check(plan: &Plan) -> Result<()> {
    match plan.mix {
        Mix::E => {
            Err("workload e scans keys in their order, and RESP has no command for that that every server \
                       knows: run it embedded, without --target"
                .into())
        }
        _ => Ok(()),
    }
}

/// One client's connection.
struct Connection {
    client: Client,
    style: Style,
    random: Lehmer,
}

impl Session for Connection {
    fn transact(&mut self, steps: &[Step], values: &Values) -> Result<u64> {
        let mut retries = 0;
        loop {
            let is_done = match self.style {
                Style::Multi => self.multi(steps, values)?,
                Style::Interactive { is_optimistic } => self.interactive(steps, values, is_optimistic)?,
            };
            if is_done {
                return Ok(retries);
            }
            self.pause(retries);
            retries += 1;
        }
    }
}

impl Connection {
    /// One try; whether it was carried out.
    fn multi(&mut self, steps: &[Step], values: &Values) -> Result<bool> {
        let watched: Vec<&[u8]> = steps
            .iter()
            .filter(|step| step.operation == Operation::ReadModifyWrite)
            .map(|step| &*step.key)
            .collect();
        if let ([step], []) = (steps, &*watched) {
            queue(&mut self.client, step, values);
            self.client.send()?;
            return expect_answer(&self.client.reply()?).map(|()| true);
        }
        if !watched.is_empty() {
            let mut watch: Vec<&[u8]> = vec![b"WATCH"];
            watch.extend(&watched);
            self.client.queue(&watch);
            watched.iter().for_each(|key| self.client.queue(&[b"GET", key]));
            self.client.send()?;
            expect_ok(&self.client.reply()?, "WATCH")?;
            for _ in &watched {
                expect_answer(&self.client.reply()?)?;
            }
        }
        self.client.queue(&[b"MULTI"]);
        steps.iter().for_each(|step| queue(&mut self.client, step, values));
        self.client.queue(&[b"EXEC"]);
        self.client.send()?;
        expect_ok(&self.client.reply()?, "MULTI")?;
        for _ in steps {
            expect_answer(&self.client.reply()?)?;
        }
        match self.client.reply()? {
            Value::Null if !watched.is_empty() => Ok(false),
            Value::Array(replies) if replies.len() == steps.len() => {
                replies.iter().try_for_each(expect_answer).map(|()| true)
            }
            other => Err(format!("EXEC was answered by {}", shown(&other)).into()),
        }
    }

    /// One try; whether it was committed.
    fn interactive(&mut self, steps: &[Step], values: &Values, is_optimistic: bool) -> Result<bool> {
        let kind: &[u8] = if is_optimistic { b"OPTIMISTIC" } else { b"PESSIMISTIC" };
        expect_ok(&self.client.call(&[b"TXN", b"BEGIN", kind])?, "TXN BEGIN")?;
        for step in steps {
            if step.operation == Operation::ReadModifyWrite && self.is_refused(&[b"GET", &step.key])? {
                return Ok(false);
            }
            queue(&mut self.client, step, values);
            if self.is_refused(&[])? {
                return Ok(false);
            }
        }
        let committed = self.client.call(&[b"TXN", b"COMMIT"])?;
        if must_begin_again(&committed) {
            return Ok(false);
        }
        expect_ok(&committed, "TXN COMMIT").map(|()| true)
    }

    /// Sends a command of a transaction (or the one that is queued); if it met others, ends the transaction.
    fn is_refused(&mut self, command: &[&[u8]]) -> Result<bool> {
        if !command.is_empty() {
            self.client.queue(command);
        }
        self.client.send()?;
        let reply = self.client.reply()?;
        if must_begin_again(&reply) {
            expect_ok(&self.client.call(&[b"TXN", b"ROLLBACK"])?, "TXN ROLLBACK")?;
            return Ok(true);
        }
        expect_answer(&reply).map(|()| false)
    }

    /// Who met others lets them go first, for a random time that grows.
    fn pause(&mut self, retries: u64) {
        let doubled = u32::try_from(retries).unwrap_or(u32::MAX).min(PAUSE_DOUBLED_MAX);
        let most_us = (PAUSE * (1 << doubled)).as_micros() as u64;
        door::sleep(Duration::from_micros(self.random.uniform(most_us)));
    }
}

/// The command of a step. What is scanned was refused before.
fn queue(client: &mut Client, step: &Step, values: &Values) {
    match step.operation {
        Operation::Read | Operation::Scan => client.queue(&[b"GET", &step.key]),
        Operation::Update | Operation::Insert | Operation::ReadModifyWrite => {
            client.queue(&[b"SET", &step.key, values.bytes(step.value.clone())]);
        }
    }
}

fn must_begin_again(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if BEGIN_AGAIN.iter().any(|code| text.starts_with(code)))
}

fn expect_ok(reply: &Value, command: &str) -> Result<()> {
    if reply.is_ok() { Ok(()) } else { Err(format!("{command} was answered by {}", shown(reply)).into()) }
}

fn expect_answer(reply: &Value) -> Result<()> {
    reply.as_error().map_or(Ok(()), |error| Err(format!("the server answered: {error}").into()))
}

/// A reply for people; it may be long.
fn shown(reply: &Value) -> String {
    match reply.as_error() {
        Some(error) => error,
        None => format!("{reply:?}").chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ycsb::Distribution;
    use ringfort_protocol::front::resp::client::encode_command;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn targets_say_what_is_possible() {
        let at = |target: &str| Remote::parse(target).map(|remote| remote.address().to_owned());
        assert_eq!(at("resp://127.0.0.1:6379").unwrap(), "127.0.0.1:6379");
        assert_eq!(at("resp://[::1]:1").unwrap(), "[::1]:1");
        for (target, expected) in [
            ("rediss://localhost:1", "TLS"),
            ("resps://localhost:1", "TLS"),
            ("http://localhost:1", "unknown"),
            ("localhost:1", "resp://HOST:PORT"),
            ("resp://localhost", "resp://HOST:PORT"),
            ("resp://:1", "resp://HOST:PORT"),
            ("resp://localhost:99999", "resp://HOST:PORT"),
            ("resp://me:secret@localhost:1", "resp://HOST:PORT"),
            ("resp://localhost:1/0", "resp://HOST:PORT"),
        ] {
            let error = at(target).unwrap_err().to_string();
            assert!(error.contains(expected), "{target}: {error}");
        }
    }

    fn plan(mix: Mix) -> Plan {
        Plan {
            mix,
            distribution: Distribution::Uniform,
            records: 10,
            value_bytes: 3,
            operations: 1,
            clients: 1,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(10),
            seed: 1,
        }
    }

    fn step(operation: Operation, key: &str) -> Step {
        Step { operation, key: key.into(), value: 0..3, limit: 1 }
    }

    /// Runs `steps` against a server that expects requests and gives replies, and says how often they were begun again.
    fn exchange(style: Style, steps: &[Step], script: &[(&[&str], &str)]) -> Result<u64> {
        let values = Values::new(0.5, 3);
        let value = String::from_utf8(values.bytes(0..3).to_vec()).unwrap();
        let script: Vec<(Vec<u8>, String)> = script
            .iter()
            .map(|(requests, replies)| {
                let request = |line: &&str| {
                    let words: Vec<String> =
                        line.split(' ').map(|word| word.replace("VALUE", &value)).collect();
                    encode_command(&words.iter().map(String::as_bytes).collect::<Vec<_>>())
                };
                (requests.iter().flat_map(request).collect(), replies.replace('|', "\r\n"))
            })
            .collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = door::spawn("server", move || {
            let (mut stream, _) = listener.accept().unwrap();
            for (request, replies) in script {
                let mut got = vec![0; request.len()];
                stream.read_exact(&mut got).unwrap();
                assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&request));
                stream.write_all(replies.as_bytes()).unwrap();
            }
        })
        .unwrap();
        let remote = Remote { style, ..Remote::parse(&format!("resp://{address}")).unwrap() };
        let done = remote.connect().unwrap().transact(steps, &values);
        server.join().expect("the requests are those of the script");
        done
    }

    #[test]
    fn what_goes_over_the_wire_is_what_a_user_would_write() {
        use Operation::{Insert, Read, ReadModifyWrite, Update};
        let one = exchange(Style::Multi, &[step(Update, "a")], &[(&["SET a VALUE"], "+OK|")]);
        assert_eq!(one.unwrap(), 0);
        let several = exchange(
            Style::Multi,
            &[step(Read, "a"), step(Insert, "b")],
            &[(&["MULTI", "GET a", "SET b VALUE", "EXEC"], "+OK|+QUEUED|+QUEUED|*2|$1|x|+OK|")],
        );
        assert_eq!(several.unwrap(), 0);
        let multi = &["MULTI", "SET a VALUE", "GET b", "EXEC"][..];
        let again = exchange(
            Style::Multi,
            &[step(ReadModifyWrite, "a"), step(Read, "b")],
            &[
                (&["WATCH a", "GET a"], "+OK|$-1|"),
                (multi, "+OK|+QUEUED|+QUEUED|*-1|"),
                (&["WATCH a", "GET a"], "+OK|$1|x|"),
                (multi, "+OK|+QUEUED|+QUEUED|*2|+OK|$-1|"),
            ],
        );
        assert_eq!(again.unwrap(), 1, "nil: a watched key was changed");
    }

    #[test]
    fn what_a_server_refuses_is_no_transaction() {
        let both = [step(Operation::Read, "a"), step(Operation::Read, "b")];
        let multi = &["MULTI", "GET a", "GET b", "EXEC"][..];
        for (replies, expected) in [
            ("-ERR unknown command 'MULTI'|$-1|$-1|-ERR unknown command 'EXEC'|", "unknown command 'MULTI'"),
            ("+OK|+QUEUED|+QUEUED|*-1|", "EXEC was answered by Null"),
            ("+OK|+QUEUED|+QUEUED|*1|$-1|", "EXEC was answered by"),
            ("+OK|+QUEUED|+QUEUED|*2|$-1|-WRONGTYPE no|", "WRONGTYPE"),
            ("+OK|-OOM full|+QUEUED|-EXECABORT discarded|", "OOM full"),
        ] {
            let error = exchange(Style::Multi, &both, &[(multi, replies)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{replies}: {error}");
        }
    }

    #[test]
    fn an_interactive_transaction_is_begun_again_where_it_met_others() {
        let steps = [step(Operation::ReadModifyWrite, "a"), step(Operation::Read, "b")];
        let style = Style::Interactive { is_optimistic: true };
        let begin = (&["TXN BEGIN OPTIMISTIC"][..], "+OK|");
        let (get, set) = ((&["GET a"][..], "$-1|"), (&["SET a VALUE"][..], "+OK|"));
        let again = exchange(
            style,
            &steps,
            &[
                begin,
                (&["GET a"], "-DEADLOCK 1 waits for 2|"),
                (&["TXN ROLLBACK"], "+OK|"),
                begin,
                get,
                (&["SET a VALUE"], "-LOCKTIMEOUT others|"),
                (&["TXN ROLLBACK"], "+OK|"),
                begin,
                get,
                set,
                (&["GET b"], "$-1|"),
                (&["TXN COMMIT"], "-CONFLICT a was changed|"),
                begin,
                get,
                set,
                (&["GET b"], "$-1|"),
                (&["TXN COMMIT"], "+OK|"),
            ],
        );
        assert_eq!(again.unwrap(), 3);
        let unknown = exchange(
            style,
            &steps,
            &[begin, get, set, (&["GET b"], "$-1|"), (&["TXN COMMIT"], "-OUTCOMEUNKNOWN stopped|")],
        );
        assert!(
            unknown.unwrap_err().to_string().contains("OUTCOMEUNKNOWN"),
            "that is for a person to look at"
        );
    }

    #[test]
    fn scans_are_refused_and_nobody_there_is_said() {
        let nobody = Remote::parse("resp://127.0.0.1:1").unwrap();
        assert!(run(&nobody, &plan(Mix::E)).unwrap_err().to_string().contains("workload e"));
        assert!(load(&nobody, &plan(Mix::E)).unwrap_err().to_string().contains("workload e"));
        assert!(run(&nobody, &plan(Mix::A)).unwrap_err().to_string().contains("127.0.0.1:1: "));
        assert!(nobody.about().is_err());
    }
}
