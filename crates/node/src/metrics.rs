//! `/metrics`: the counters in Prometheus's text format.

use crate::server::Server;
use crate::stats::read;
use ringfort_base::Level;
use ringfort_protocol::front::resp::command::COMMANDS;
use std::fmt::{Display, Write};

/// Writes one metric family at a time.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let written = writeln!(self.0, "# HELP ringfort_{name} {help}\n# TYPE ringfort_{name} {kind}");
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let written = writeln!(self.0, "ringfort_{name}{labels} {value}");
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, "", value);
    }
}

/// The page.
#[must_use]
pub fn render(server: &Server) -> String {
    let stats = server.stats();
    let mut page = Page(String::with_capacity(8192));
    page.one("up", "gauge", "1 while the server answers.", u8::from(server.health().is_ok()));
    page.one("uptime_seconds", "gauge", "Time since the start.", server.uptime().as_secs_f64());
    page.one("connections", "gauge", "Open client connections.", server.clients().len());
    page.one("connection_memory_bytes", "gauge", "Memory charged to connections.", server.budget().used());
    page.one("connection_memory_limit_bytes", "gauge", "What they may hold.", server.budget().total());
    page.one("connections_waiting", "gauge", "Connections that wait for memory.", server.budget().waiting());
    page.head("position", "gauge", "Highest log position that has a level.");
    for level in Level::ALL {
        page.sample("position", &format!("{{level=\"{level}\"}}"), server.store().frontier(level));
    }
    for (name, help, counter) in [
        ("connections_total", "Connections accepted.", &stats.connections),
        ("rejected_connections_total", "Connections refused by maxclients.", &stats.rejected_connections),
        ("requests_total", "Commands carried out.", &stats.commands),
        ("error_replies_total", "Replies that were errors.", &stats.errors),
        ("keyspace_hits_total", "Look-ups of keys that were there.", &stats.hits),
        ("keyspace_misses_total", "Look-ups of keys that were not.", &stats.misses),
        ("expired_keys_total", "Keys removed because they expired.", &stats.expired_keys),
        ("input_bytes_total", "Bytes received from clients.", &stats.input_bytes),
        ("output_bytes_total", "Bytes sent to clients.", &stats.output_bytes),
        ("gated_turns_total", "Turns that waited for their level.", &stats.gated_turns),
        ("pool_reads_total", "Reads that needed the disk, and slices of scans.", &stats.pool_reads),
    ] {
        page.one(name, "counter", help, read(counter));
    }
    let waited_s = read(&stats.gate_wait_us) as f64 / 1e6;
    page.one("gate_wait_seconds_total", "counter", "Time that turns waited for their level.", waited_s);
    page.one("memtable_bytes", "gauge", "Memory of all memtables.", server.store().memtable_bytes());
    for (name, value) in server.store().statistics().entries() {
        page.one(&format!("store_{name}_total"), "counter", "A counter of the store.", value);
    }
    commands(server, &mut page);
    page.0
}

/// A family per fact, a sample per command that ran.
fn commands(server: &Server, page: &mut Page) {
    let ran: Vec<_> = COMMANDS
        .iter()
        .zip(&server.stats().by_command)
        .filter(|(_, stats)| read(&stats.calls) > 0)
        .map(|(command, stats)| (format!("{{command=\"{}\"}}", command.name), stats))
        .collect();
    page.head("commands_total", "counter", "Commands carried out, by command.");
    ran.iter().for_each(|(labels, s)| page.sample("commands_total", labels, read(&s.calls)));
    page.head("command_seconds_total", "counter", "Time spent on commands, without waiting for levels.");
    ran.iter()
        .for_each(|(labels, s)| page.sample("command_seconds_total", labels, read(&s.took_us) as f64 / 1e6));
    page.head("command_errors_total", "counter", "Commands that answered with an error.");
    ran.iter().for_each(|(labels, s)| page.sample("command_errors_total", labels, read(&s.failed)));
}
