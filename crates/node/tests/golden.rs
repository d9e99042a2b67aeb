//! Golden conversations: `tests/golden/*.txt`, exact bytes.
//!
//! `> COMMAND` is sent as an inline command, the lines below it are the expected reply (each
//! ended by CR LF on the wire), `~ n` lets n milliseconds pass, `;` begins a comment. Each script runs on a new server: once command by
//! command, and, if no time passes in it, once as one pipeline.
mod common;

use common::{Rig, on_runtime};
use ringfort_node::ServerConfig;
use std::path::PathBuf;
use std::time::Duration;

enum Step {
    Pass(u64),
    Exchange { line: usize, command: String, reply: String },
}

fn parse(script: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, line) in script.lines().enumerate() {
        if line.starts_with("; ") || line.is_empty() {
            continue;
        }
        if let Some(ms) = line.strip_prefix("~ ") {
            steps.push(Step::Pass(ms.parse().expect("milliseconds")));
        } else if let Some(command) = line.strip_prefix("> ") {
            steps.push(Step::Exchange { line: at + 1, command: command.to_owned(), reply: String::new() });
        } else if let Some(Step::Exchange { reply, .. }) = steps.last_mut() {
            // A line of a lone backslash is an empty one (an empty bulk).
            reply.push_str(if line == "\\" { "" } else { line });
            reply.push_str("\r\n");
        }
    }
    steps
}

fn scripts() -> Vec<(String, Vec<Step>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut scripts: Vec<_> = std::fs::read_dir(dir)
        .expect("the scripts")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, parse(&std::fs::read_to_string(path).expect("a script")))
        })
        .collect();
    scripts.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(scripts.len() >= 8, "the scripts are there");
    scripts
}

fn rig(name: &str) -> Rig {
    let requirepass = (name == "auth").then(|| b"secret".to_vec());
    Rig::with(ServerConfig { requirepass, ..ServerConfig::default() })
}

#[test]
fn command_by_command() {
    on_runtime(async {
        for (name, steps) in scripts() {
            let rig = rig(&name);
            let mut client = rig.connect();
            for step in &steps {
                match step {
                    Step::Pass(ms) => rig.clock.advance(Duration::from_millis(*ms)),
                    Step::Exchange { line, command, reply } => {
                        client.send(format!("{command}\r\n").as_bytes()).await;
                        let got = client.take(reply.len()).await;
                        let got = String::from_utf8_lossy(&got);
                        assert_eq!(got, *reply, "{name}.txt, line {line}: {command}");
                    }
                }
            }
            client.send(b"ECHO the-end\r\n").await;
            let got = client.take(b"$7\r\nthe-end\r\n".len()).await;
            assert_eq!(
                String::from_utf8_lossy(&got),
                "$7\r\nthe-end\r\n",
                "{name}.txt: more than was expected"
            );
            rig.jobs.stop();
        }
    });
}

#[test]
fn as_one_pipeline() {
    on_runtime(async {
        for (name, steps) in scripts() {
            if steps.iter().any(|step| matches!(step, Step::Pass(_))) {
                continue;
            }
            let rig = rig(&name);
            let mut client = rig.connect();
            let (mut sent, mut expected) = (String::new(), String::new());
            for step in &steps {
                if let Step::Exchange { command, reply, .. } = step {
                    sent.push_str(&format!("{command}\r\n"));
                    expected.push_str(reply);
                }
            }
            sent.push_str("QUIT\r\n");
            expected.push_str("+OK\r\n");
            client.send(sent.as_bytes()).await;
            let got = client.rest().await;
            assert_eq!(String::from_utf8_lossy(&got), expected, "{name}.txt as a pipeline");
            rig.jobs.stop();
        }
    });
}
