//! `INFO [section...]`: facts and counters as text.

use super::connection::REDIS_VERSION;
use super::ctx::{Ctx, Done};
use crate::stats::read;
use ringfort_base::Level;
use ringfort_protocol::front::resp::Request;
use ringfort_protocol::front::resp::command::COMMANDS;
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

/// The sections in order, and whether plain `INFO` shows them.
const SECTIONS: &[(&str, bool)] = &[
    ("Server", true),
    ("Clients", true),
    ("Memory", true),
    ("Persistence", true),
    ("Stats", true),
    ("Replication", true),
    ("Commandstats", false),
    ("Cluster", true),
    ("Ringfort", true),
    ("Keyspace", true),
];

/// `INFO [section...]`.
pub(super) fn info(ctx: &mut Ctx<'_>, req: &Request) -> Done {
    let asked: Vec<&[u8]> = req.args_from(1).collect();
    let mut out = String::new();
    for &(section, by_default) in SECTIONS {
        let named = asked.iter().any(|name| name.eq_ignore_ascii_case(section.as_bytes()));
        let everything =
            asked.iter().any(|n| n.eq_ignore_ascii_case(b"all") || n.eq_ignore_ascii_case(b"everything"));
        let default = asked.is_empty() || asked.iter().any(|name| name.eq_ignore_ascii_case(b"default"));
        if !(named || everything || (default && by_default)) {
            continue;
        }
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        out.push_str("# ");
        out.push_str(section);
        out.push_str("\r\n");
        write_section(ctx, section, &mut out)?;
    }
    ctx.reply().verbatim(*b"txt", out.as_bytes());
    Ok(())
}

fn line(out: &mut String, name: &str, value: impl Display) {
    let written = write!(out, "{name}:{value}\r\n");
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}

fn write_section(ctx: &mut Ctx<'_>, section: &str, out: &mut String) -> Done {
    match section {
        "Server" => server(ctx, out),
        "Clients" => {
            line(out, "connected_clients", ctx.server.clients().len());
            line(out, "maxclients", ctx.server.settings().maxclients.load(Relaxed));
            line(out, "blocked_clients", ctx.server.budget().waiting());
        }
        "Memory" => {
            line(out, "used_memory", ctx.server.budget().used() + ctx.server.store().memtable_bytes());
            line(out, "maxmemory", 0);
            line(out, "maxmemory_policy", "noeviction");
            line(out, "mem_clients_normal", ctx.server.budget().used());
            line(out, "ringfort_connection_memory_limit", ctx.server.budget().total());
        }
        "Persistence" => {
            line(out, "loading", 0);
            line(out, "async_loading", 0);
            line(out, "rdb_bgsave_in_progress", 0);
            line(out, "rdb_last_bgsave_status", "ok");
            line(out, "aof_enabled", 1);
            line(out, "aof_rewrite_in_progress", 0);
            line(out, "aof_last_write_status", if ctx.server.failure().is_some() { "err" } else { "ok" });
        }
        "Stats" => stats(ctx, out),
        "Replication" => {
            line(out, "role", "master");
            line(out, "connected_slaves", 0);
        }
        "Commandstats" => command_stats(ctx, out),
        "Cluster" => line(out, "cluster_enabled", 0),
        "Ringfort" => ringfort(ctx, out),
        "Keyspace" => return keyspace(ctx, out),
        _ => {}
    }
    Ok(())
}

fn server(ctx: &Ctx<'_>, out: &mut String) {
    let uptime_s = ctx.server.uptime().as_secs();
    line(out, "redis_version", REDIS_VERSION);
    line(out, "ringfort_version", env!("CARGO_PKG_VERSION"));
    line(out, "redis_mode", "standalone");
    line(out, "arch_bits", usize::BITS);
    line(out, "run_id", ctx.server.run_id());
    line(out, "tcp_port", ctx.server.config().port);
    line(out, "server_time_usec", ctx.now_ms().saturating_mul(1000));
    line(out, "uptime_in_seconds", uptime_s);
    line(out, "uptime_in_days", uptime_s / 86_400);
}

fn stats(ctx: &Ctx<'_>, out: &mut String) {
    let stats = ctx.server.stats();
    line(out, "total_connections_received", read(&stats.connections));
    line(out, "total_commands_processed", read(&stats.commands));
    line(out, "total_net_input_bytes", read(&stats.input_bytes));
    line(out, "total_net_output_bytes", read(&stats.output_bytes));
    line(out, "rejected_connections", read(&stats.rejected_connections));
    line(out, "expired_keys", read(&stats.expired_keys));
    line(out, "evicted_keys", 0);
    line(out, "keyspace_hits", read(&stats.hits));
    line(out, "keyspace_misses", read(&stats.misses));
    line(out, "total_error_replies", read(&stats.errors));
}

fn command_stats(ctx: &Ctx<'_>, out: &mut String) {
    for (command, stats) in COMMANDS.iter().zip(&ctx.server.stats().by_command) {
        let calls = read(&stats.calls);
        if calls == 0 {
            continue;
        }
        let took_us = read(&stats.took_us);
        let per_call = took_us as f64 / calls as f64;
        let failed = read(&stats.failed);
        line(
            out,
            &format!("cmdstat_{}", command.name),
            format_args!(
                "calls={calls},usec={took_us},usec_per_call={per_call:.2},rejected_calls=0,failed_calls={failed}"
            ),
        );
    }
}

fn ringfort(ctx: &Ctx<'_>, out: &mut String) {
    let store = ctx.server.store();
    line(out, "ringfort_session_level", ctx.session.level);
    line(out, "ringfort_default_level", ctx.server.config().default_level);
    line(out, "ringfort_minimum_level", ctx.server.config().minimum_level);
    line(out, "ringfort_position_buffered", store.frontier(Level::Buffered));
    line(out, "ringfort_position_durable", store.frontier(Level::Durable));
    line(out, "ringfort_position_fresh", store.frontier(Level::Fresh));
    for (name, value) in store.statistics().entries() {
        line(out, &format!("ringfort_store_{name}"), value);
    }
    line(out, "ringfort_scan_cursors", ctx.server.cursors().lock().len());
    let stopped = ctx.server.failure().map_or_else(|| "no".to_owned(), |e| format!("{:?}", e.kind()));
    line(out, "ringfort_stopped", stopped);
}

/// Databases that hold keys. These are facts of the store, so they go through the gate.
fn keyspace(ctx: &mut Ctx<'_>, out: &mut String) -> Done {
    if ctx.server.failure().is_some() {
        return Ok(());
    }
    // EXEC has not locked what is counted: writes of this turn may not be visible yet.
    ctx.pending.flush();
    let server = ctx.server;
    for (n, &keyspace) in server.databases().iter().enumerate() {
        let count = ctx.count(keyspace)?;
        if count > 0 {
            // How many of them expire is not maintained; parsers of this line (redis-py's) need the
            // fields to be there.
            line(out, &format!("db{n}"), format_args!("keys={},expires=0,avg_ttl=0", count));
        }
    }
    Ok(())
}
