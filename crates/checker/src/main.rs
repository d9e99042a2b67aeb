//! `ringfort-checker HISTORY`: checks a recorded history and says what contradicts serializability.
#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use ringfort_checker::{Order, check, read_json_lines};
use std::fs::File;
use std::io::{BufReader, Read, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks a recorded history of transactions for what serializable execution cannot have produced.
///
/// Exit status: 0 without an anomaly, 1 with one, 2 if the history cannot be checked.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The history, one JSON object a line: {"session":0,"start":1,"end":2,"outcome":"committed","ops":[…]};
    /// operations as {"append":{"key":1,"value":2}}, {"list":{"key":1,"values":[2]}}, write, read,
    /// scan_lists, scan_values. "-" is standard input
    history: PathBuf,
    /// What must be explained beyond the data
    #[arg(long, value_enum, default_value = "real-time")]
    order: OrderArg,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum OrderArg {
    /// Serializability alone
    None,
    /// And the order of each session
    Session,
    /// Strict serializability
    RealTime,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("{}: {e}", args.history.display());
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let from: Box<dyn Read> = if args.history.as_os_str() == "-" {
        Box::new(stdin())
    } else {
        Box::new(File::open(&args.history)?)
    };
    let history = read_json_lines(BufReader::new(from))?;
    let order = match args.order {
        OrderArg::None => Order::None,
        OrderArg::Session => Order::Session,
        OrderArg::RealTime => Order::RealTime,
    };
    let report = check(&history, order)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(report.is_clean())
}
