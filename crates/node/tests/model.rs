//! Random commands against a model that is too simple to be wrong: the same replies, the same keys,
//! the same count, whatever expires, is reaped, flushed to tables or compacted in between.
#![expect(clippy::unwrap_used, reason = "the model parses what the generator made")]
mod common;

use common::{Client, Rig, on_runtime, text};
use proptest::prelude::*;
use ringfort_base::Level;
use ringfort_node::reaper::reap;
use ringfort_protocol::front::resp::Value;
use ringfort_protocol::front::resp::client::append_command;
use std::collections::BTreeMap;
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
enum Command {
    Words(Vec<String>),
    Pass(u64),
    Reap,
    Flush,
    Compact,
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    Text(String),
    Hash(BTreeMap<String, String>),
}

#[derive(Clone, Debug)]
struct Entry {
    content: Content,
    expiry_ms: Option<u64>,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Entry>,
    now_ms: u64,
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// A reply as text: bulk and status as they are, null as `(nil)`, arrays in brackets.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(nil)".to_owned(),
        value => match value.as_array() {
            Some(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
            None => text(value),
        },
    }
}

impl Model {
    fn drop_expired(&mut self) {
        let now_ms = self.now_ms;
        self.entries.retain(|_, entry| entry.expiry_ms.is_none_or(|at| at > now_ms));
    }

    fn text(&self, key: &str) -> Result<Option<&str>, String> {
        match self.entries.get(key).map(|e| &e.content) {
            None => Ok(None),
            Some(Content::Text(text)) => Ok(Some(text)),
            Some(Content::Hash(_)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn put_text(&mut self, key: &str, value: String, keep_expiry: bool) {
        let old = self.entries.get(key).and_then(|e| e.expiry_ms);
        let expiry_ms = old.filter(|_| keep_expiry);
        self.entries.insert(key.to_owned(), Entry { content: Content::Text(value), expiry_ms });
    }

    fn hash(&mut self, key: &str, create: bool) -> Result<Option<&mut BTreeMap<String, String>>, String> {
        if create {
            let empty = || Entry { content: Content::Hash(BTreeMap::new()), expiry_ms: None };
            self.entries.entry(key.to_owned()).or_insert_with(empty);
        }
        match self.entries.get_mut(key).map(|e| &mut e.content) {
            None => Ok(None),
            Some(Content::Hash(fields)) => Ok(Some(fields)),
            Some(Content::Text(_)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn run(&mut self, words: &[&str]) -> String {
        self.drop_expired();
        self.answer(words).unwrap_or_else(|error| error)
    }

    fn answer(&mut self, words: &[&str]) -> Result<String, String> {
        let nil = || "(nil)".to_owned();
        let number = |yes: bool| u8::from(yes).to_string();
        Ok(match words {
            ["SET", key, value] => {
                self.put_text(key, (*value).to_owned(), false);
                "OK".to_owned()
            }
            ["SET", key, value, "PX", ms] => {
                self.put_text(key, (*value).to_owned(), false);
                let at = self.now_ms + ms.parse::<u64>().unwrap();
                self.entries.get_mut(*key).unwrap().expiry_ms = Some(at);
                "OK".to_owned()
            }
            ["SET", key, value, "KEEPTTL", "XX"] => {
                if !self.entries.contains_key(*key) {
                    return Ok(nil());
                }
                self.put_text(key, (*value).to_owned(), true);
                "OK".to_owned()
            }
            ["SET", key, value, "NX", "GET"] => {
                let old = self.text(key)?.map(str::to_owned);
                if old.is_none() {
                    self.put_text(key, (*value).to_owned(), false);
                }
                old.unwrap_or_else(nil)
            }
            ["MSETNX", a, x, b, y] => {
                let fresh = !self.entries.contains_key(*a) && !self.entries.contains_key(*b);
                if fresh {
                    self.put_text(a, (*x).to_owned(), false);
                    self.put_text(b, (*y).to_owned(), false);
                }
                number(fresh)
            }
            ["GET", key] => self.text(key)?.map_or_else(nil, str::to_owned),
            ["GETDEL", key] => {
                let old = self.text(key)?.map_or_else(nil, str::to_owned);
                self.entries.remove(*key);
                old
            }
            ["GETEX", key, "PERSIST"] => {
                let old = self.text(key)?.map(str::to_owned);
                if let Some(entry) = self.entries.get_mut(*key) {
                    entry.expiry_ms = None;
                }
                old.unwrap_or_else(nil)
            }
            ["APPEND", key, more] => {
                let value = format!("{}{more}", self.text(key)?.unwrap_or_default());
                let len = value.len();
                self.put_text(key, value, true);
                len.to_string()
            }
            ["INCRBY", key, step] => {
                let old = self.text(key)?.unwrap_or("0").to_owned();
                let canonical = old.parse::<i64>().ok().filter(|n| n.to_string() == old);
                let value = canonical.ok_or(NOT_AN_INTEGER)? + step.parse::<i64>().unwrap();
                self.put_text(key, value.to_string(), true);
                value.to_string()
            }
            ["DEL", a, b] => {
                let a_went = self.entries.remove(*a).is_some();
                let b_went = self.entries.remove(*b).is_some();
                (u8::from(a_went) + u8::from(b_went)).to_string()
            }
            ["PEXPIRE", key, ms, condition] => {
                let at = self.now_ms + ms.parse::<u64>().unwrap();
                let Some(entry) = self.entries.get_mut(*key) else { return Ok(number(false)) };
                let allowed = match (*condition, entry.expiry_ms) {
                    ("NX", old) => old.is_none(),
                    ("XX", old) => old.is_some(),
                    ("GT", old) => old.is_some_and(|old| at > old),
                    (_, old) => old.is_none_or(|old| at < old),
                };
                if allowed {
                    entry.expiry_ms = Some(at);
                }
                self.drop_expired();
                number(allowed)
            }
            ["PERSIST", key] => {
                number(self.entries.get_mut(*key).is_some_and(|entry| entry.expiry_ms.take().is_some()))
            }
            ["PTTL", key] => match self.entries.get(*key).map(|e| e.expiry_ms) {
                None => "-2".to_owned(),
                Some(None) => "-1".to_owned(),
                Some(Some(at)) => (at - self.now_ms).to_string(),
            },
            ["TYPE", key] => match self.entries.get(*key).map(|e| &e.content) {
                None => "none".to_owned(),
                Some(Content::Text(_)) => "string".to_owned(),
                Some(Content::Hash(_)) => "hash".to_owned(),
            },
            ["RENAME", from, to] => {
                let entry = self.entries.remove(*from).ok_or("ERR no such key")?;
                self.entries.insert((*to).to_owned(), entry);
                "OK".to_owned()
            }
            ["COPY", from, to, "REPLACE"] => {
                if from == to {
                    return Err("ERR source and destination objects are the same".to_owned());
                }
                let entry = self.entries.get(*from).cloned();
                let copied = entry.map(|entry| self.entries.insert((*to).to_owned(), entry)).is_some();
                number(copied)
            }
            ["HSET", key, f, v, g, w] => {
                let fields = self.hash(key, true)?.unwrap();
                let before = fields.len();
                fields.insert((*f).to_owned(), (*v).to_owned());
                fields.insert((*g).to_owned(), (*w).to_owned());
                (fields.len() - before).to_string()
            }
            ["HDEL", key, field] => {
                let Some(fields) = self.hash(key, false)? else { return Ok(number(false)) };
                let went = fields.remove(*field).is_some();
                if fields.is_empty() {
                    self.entries.remove(*key);
                }
                number(went)
            }
            ["HINCRBY", key, field, step] => {
                let old = self.hash(key, false)?.and_then(|fields| fields.get(*field).cloned());
                let old = old.unwrap_or_else(|| "0".to_owned());
                let canonical = old.parse::<i64>().ok().filter(|n| n.to_string() == old);
                let value =
                    canonical.ok_or("ERR hash value is not an integer")? + step.parse::<i64>().unwrap();
                self.hash(key, true)?.unwrap().insert((*field).to_owned(), value.to_string());
                value.to_string()
            }
            ["HGET", key, field] => {
                let value = self.hash(key, false)?.and_then(|fields| fields.get(*field).cloned());
                value.unwrap_or_else(nil)
            }
            ["HLEN", key] => self.hash(key, false)?.map_or(0, |fields| fields.len()).to_string(),
            ["HGETALL", key] => {
                let fields = self.hash(key, false)?;
                let words = fields.into_iter().flatten().flat_map(|(f, v)| [f.clone(), v.clone()]);
                format!("[{}]", words.collect::<Vec<_>>().join(" "))
            }
            ["KEYS", "*"] => format!("[{}]", self.entries.keys().cloned().collect::<Vec<_>>().join(" ")),
            ["RANGE", "k1", ""] => {
                let texts = self.entries.range("k1".to_owned()..).filter_map(|(key, e)| match &e.content {
                    Content::Text(value) => Some(format!("{key} {value}")),
                    Content::Hash(_) => None,
                });
                format!("[{}]", texts.collect::<Vec<_>>().join(" "))
            }
            ["FLUSHDB"] => {
                self.entries.clear();
                "OK".to_owned()
            }
            other => panic!("the model does not know {other:?}"),
        })
    }
}

fn command() -> impl Strategy<Value = Command> {
    let key = || (0..4u8).prop_map(|n| format!("k{n}"));
    let field = || (0..4u8).prop_map(|n| format!("f{n}"));
    let value = || prop_oneof![(0..30i64).prop_map(|n| n.to_string()), Just("x".to_owned())];
    let ms = || (1..40u64).prop_map(|n| n.to_string());
    let condition = prop_oneof![Just("NX"), Just("XX"), Just("GT"), Just("LT")];
    let words = prop_oneof![
        4 => (key(), value()).prop_map(|(k, v)| format!("SET {k} {v}")),
        2 => (key(), value(), ms()).prop_map(|(k, v, ms)| format!("SET {k} {v} PX {ms}")),
        1 => (key(), value()).prop_map(|(k, v)| format!("SET {k} {v} KEEPTTL XX")),
        1 => (key(), value()).prop_map(|(k, v)| format!("SET {k} {v} NX GET")),
        1 => (key(), key(), value()).prop_map(|(a, b, v)| format!("MSETNX {a} {v} {b} {v}")),
        2 => key().prop_map(|k| format!("GET {k}")),
        1 => key().prop_map(|k| format!("GETDEL {k}")),
        1 => key().prop_map(|k| format!("GETEX {k} PERSIST")),
        1 => (key(), value()).prop_map(|(k, v)| format!("APPEND {k} {v}")),
        2 => (key(), -5..5i64).prop_map(|(k, n)| format!("INCRBY {k} {n}")),
        2 => (key(), key()).prop_map(|(a, b)| format!("DEL {a} {b}")),
        2 => (key(), ms(), condition).prop_map(|(k, ms, c)| format!("PEXPIRE {k} {ms} {c}")),
        1 => key().prop_map(|k| format!("PERSIST {k}")),
        1 => key().prop_map(|k| format!("PTTL {k}")),
        1 => key().prop_map(|k| format!("TYPE {k}")),
        2 => (key(), key()).prop_map(|(a, b)| format!("RENAME {a} {b}")),
        2 => (key(), key()).prop_map(|(a, b)| format!("COPY {a} {b} REPLACE")),
        4 => (key(), field(), field(), value()).prop_map(|(k, f, g, v)| format!("HSET {k} {f} {v} {g} {v}")),
        2 => (key(), field()).prop_map(|(k, f)| format!("HDEL {k} {f}")),
        1 => (key(), field(), -5..5i64).prop_map(|(k, f, n)| format!("HINCRBY {k} {f} {n}")),
        1 => (key(), field()).prop_map(|(k, f)| format!("HGET {k} {f}")),
        1 => key().prop_map(|k| format!("HLEN {k}")),
        3 => key().prop_map(|k| format!("HGETALL {k}")),
        2 => Just("KEYS *".to_owned()),
        1 => Just("RANGE k1 ".to_owned()),
        1 => Just("FLUSHDB".to_owned()),
    ];
    prop_oneof![
        40 => words.prop_map(|line| Command::Words(line.split(' ').map(str::to_owned).collect())),
        6 => (1..30u64).prop_map(Command::Pass),
        2 => Just(Command::Reap),
        1 => Just(Command::Flush),
        1 => Just(Command::Compact),
    ]
}

async fn check(rig: &Rig, client: &mut Client, model: &mut Model, step: &Command) {
    let keyspace = rig.server.databases()[0];
    match step {
        Command::Words(words) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(shown(&client.call(&args).await), model.run(&words), "{words:?}");
        }
        Command::Pass(ms) => {
            rig.clock.advance(Duration::from_millis(*ms));
            model.now_ms += ms;
        }
        Command::Reap => while reap(&rig.server, keyspace).expect("reaps") > 0 {},
        Command::Flush => rig.server.store().flush(Some(keyspace)).expect("flushes"),
        Command::Compact => rig.server.store().compact_range(keyspace, None, None).expect("compacts"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn commands_do_what_the_model_does(steps in prop::collection::vec(command(), 1..120), pipelined: bool) {
        on_runtime(async {
            let rig = Rig::at(Level::Buffered);
            let mut client = rig.connect();
            let mut model = Model { now_ms: START_MS, ..Model::default() };
            if pipelined {
                check_pipelined(&rig, &mut client, &mut model, &steps).await;
            } else {
                for step in &steps {
                    check(&rig, &mut client, &mut model, step).await;
                }
            }
            check(&rig, &mut client, &mut model, &Command::Reap).await;
            model.drop_expired();
            assert_eq!(text(&client.run("DBSIZE").await), model.entries.len().to_string());
            for key in model.entries.keys() {
                let words = vec!["HGETALL".to_owned(), key.clone()];
                check(&rig, &mut client, &mut model_of(&model), &Command::Words(words)).await;
            }
            rig.jobs.stop();
        });
    }
}

/// Everything up to the next step that is no command goes out as one pipeline.
async fn check_pipelined(rig: &Rig, client: &mut Client, model: &mut Model, steps: &[Command]) {
    let mut rest = steps;
    while !rest.is_empty() {
        let commands = rest.iter().take_while(|step| matches!(step, Command::Words(_))).count();
        let (pipeline, later) = rest.split_at(commands);
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for step in pipeline {
            let Command::Words(words) = step else { continue };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            append_command(&mut bytes, &args);
            expected.push((words.join(" "), model.run(&words)));
        }
        client.send(&bytes).await;
        for (command, expected) in expected {
            assert_eq!(shown(&client.reply().await.expect("a reply")), expected, "{command}");
        }
        rest = match later.split_first() {
            None => later,
            Some((step, later)) => {
                check(rig, client, model, step).await;
                later
            }
        };
    }
}

fn model_of(model: &Model) -> Model {
    Model { entries: model.entries.clone(), now_ms: model.now_ms }
}
