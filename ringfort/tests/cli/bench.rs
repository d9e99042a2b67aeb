//! `ringfort bench db` as its users run it.

use crate::child::{Dir, stderr, stdout};
use ringfort_host::door;
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const ALL: &str = "fillseq,fillrandom,filluniquerandom,fillbatch,fillsync,fillrandom,overwrite,readrandom,readmissing,\
    multireadrandom,readseq,readreverse,seekrandom,readrandomwriterandom,readwhilewriting,seekrandomwhilewriting,\
    updaterandom,deleteseq,deleterandom,mergerandom";

/// The benchmarks, with the temporary directory inside the test's.
fn command(dir: &Dir, words: &[&str]) -> Command {
    std::fs::create_dir_all(dir.path("tmp")).unwrap();
    let mut command = dir.command(&["bench", "db"]);
    command.args(words).env("TMPDIR", dir.path("tmp"));
    command
}

fn run(dir: &Dir, words: &[&str]) -> Output {
    let output = command(dir, words).output().unwrap();
    let left: Vec<_> = std::fs::read_dir(dir.path("tmp")).unwrap().collect();
    assert!(left.is_empty(), "nothing stays behind: {left:?}");
    output
}

fn good(dir: &Dir, words: &[&str]) -> String {
    let output = run(dir, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    stdout(&output)
}

fn json(dir: &Dir, words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    good(dir, &words).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_benchmark_runs_and_its_result_is_a_line_of_json() {
    let dir = Dir::new();
    let words = [
        &format!("--benchmarks={ALL}"),
        "--num=2000",
        "--threads=2",
        "--merge_operator=append",
        "--seek_nexts",
        "5",
        "--batch_size",
        "2",
    ];
    let lines = json(&dir, &words);
    let names: Vec<&str> = lines.iter().map(|line| line["benchmark"].as_str().unwrap()).collect();
    assert_eq!(names.join(","), ALL.replace(' ', ""));
    for (line, name) in lines.iter().zip(&names) {
        assert!(line["skipped"].is_null(), "{name}: {}", line["skipped"]);
        let threads = if *name == "filluniquerandom" { 1 } else { 2 };
        // Every thread its full count; a walk ends where the entries end.
        let each = match *name {
            "fillsync" => 2,
            _ => 2000,
        };
        let expected = threads * each;
        let operations = line["operations"].as_u64().unwrap();
        if name.starts_with("readseq") || *name == "readreverse" {
            assert!((1500..=expected).contains(&operations), "{name}: {operations}");
        } else {
            assert_eq!(operations, expected, "{name}");
        }
        assert_eq!((line["engine"].as_str(), line["threads"].as_u64()), (Some("ringfort"), Some(threads)));
        assert_eq!((line["value_size"].as_u64(), line["key_size"].as_u64()), (Some(100), Some(16)));
        for number in
            ["ops_per_sec", "cpu_us_per_op", "p50_us", "p99_us", "p999_us", "disk_bytes", "peak_rss_bytes"]
        {
            assert!(line[number].as_f64().unwrap() > 0.0, "{name}: {number} in {line}");
        }
    }
    let of = |name: &str| lines.iter().rfind(|line| line["benchmark"] == name).unwrap();
    let found = |name: &str| of(name)["found"].as_f64().unwrap() / of(name)["reads"].as_f64().unwrap();
    // Two threads filled 86 % of the keys, and two overwrote: 98 %.
    assert!((0.96..0.995).contains(&found("readrandom")), "{}", found("readrandom"));
    assert_eq!(found("readmissing"), 0.0);
    assert!(found("readwhilewriting") > 0.96);
    assert_eq!(of("readrandomwriterandom")["reads"], 2 * 20 * 90);
    assert_eq!(
        (of("fillsync")["level"].as_str(), of("fillseq")["level"].as_str()),
        (Some("durable"), Some("buffered"))
    );
}

#[test]
fn the_text_is_one_that_db_bench_users_can_read() {
    let dir = Dir::new();
    let words = [
        "--benchmarks=fillrandom,readrandom,readrandomwriterandom",
        "--num",
        "1000",
        "--histogram=1",
        "--statistics",
    ];
    let said = good(&dir, &words);
    let line = |start: &str| {
        said.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start} in {said}"))
            .to_owned()
    };
    assert_eq!(line("Keys:"), "Keys:       16 bytes each");
    assert_eq!(line("Entries:"), "Entries:    1000");
    assert!(line("RawSize:").contains("0.1 MB"));
    assert!(line("DB path:").contains("tmp/ringfort-bench-"));
    let fill: Vec<String> = line("fillrandom   : ").split_whitespace().map(str::to_owned).collect();
    assert_eq!(fill[3..4], ["micros/op"]);
    assert_eq!(fill[5..6], ["ops/sec"]);
    assert_eq!(fill[7..10], ["seconds", "1000", "operations;"]);
    assert_eq!(fill[11], "MB/s");
    assert!(fill[2].parse::<f64>().unwrap() > 0.0 && fill[4].parse::<u64>().unwrap() > 0);
    assert!(line("readrandom   : ").ends_with(" of 1000 found)"));
    assert!(line("readrandomwriterandom : ").contains("( reads:900 writes:100 total:1000 found:"));
    assert_eq!(said.matches("Microseconds per read:").count(), 2);
    assert_eq!(said.matches("Microseconds per write:").count(), 2);
    assert!(line("Percentiles: P50: ").contains(" P75: ") && said.contains(" P99.99: "));
    assert!(line("STATISTICS:").ends_with(':') && line("gets COUNT : ").ends_with("1900"));
}

#[test]
fn a_store_that_is_kept_can_be_used_again() {
    let dir = Dir::new();
    let kept = dir.path("kept");
    let db = format!("--db={}", kept.display());
    json(&dir, &["--benchmarks=fillseq", "--num=500", &db]);
    assert!(kept.join("data/wal").is_dir());
    let again = run(&dir, &["--benchmarks=fillseq", "--num=500", &db]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("is not empty"), "{}", stderr(&again));
    let lines = json(&dir, &["--benchmarks=fillseq,readrandom", "--num=500", "--use_existing_db", &db]);
    assert_eq!(lines[0]["skipped"], "--use_existing_db is true");
    assert_eq!(lines[1]["found"], 500);
    // What another run wrote is noticed.
    let other = run(
        &dir,
        &["--benchmarks=readrandom", "--num=500", "--value_size=99", "--use_existing_db=true", &db],
    );
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("a value of 100 bytes, and --value_size is 99"), "{}", stderr(&other));
}

#[test]
fn modes_levels_and_codecs() {
    let dir = Dir::new();
    let twin = ["--benchmarks=fillrandom,readrandom", "--num=200", "--mode=twin", "--level", "fresh"];
    let lines = json(&dir, &twin);
    assert_eq!(
        (lines[0]["engine"].as_str(), lines[0]["level"].as_str()),
        (Some("ringfort:twin"), Some("fresh"))
    );
    // A counter that takes 2 ms takes them for every write that waits for it.
    let slow = ["--benchmarks=fillrandom", "--num=20", "--level=fresh", "--counter-latency=2"];
    assert!(json(&dir, &slow)[0]["p50_us"].as_f64().unwrap() >= 2000.0);
    // Not so if many are under way: they wait for the same one.
    let many = ["--benchmarks=fillrandom", "--num=1000", "--in_flight=500", "--level=fresh", "--statistics"];
    let lines = json(&dir, &many);
    assert_eq!(lines[0]["operations"], 1000);
    let counted = lines[1]["statistics"].as_str().unwrap();
    let advances = counted.lines().find_map(|line| line.strip_prefix("advances COUNT : ")).unwrap();
    assert!(advances.parse::<u32>().unwrap() < 200, "{counted}");
    // Nor is a read fresh without asking the counter.
    let fresh = ["--benchmarks=fillseq,readrandom", "--num=20", "--read_level=fresh", "--counter_latency=2"];
    assert!(json(&dir, &fresh)[1]["p50_us"].as_f64().unwrap() >= 2000.0);
    let packed = [
        "--benchmarks=fillseq",
        "--num=20000",
        "--compression_type=zstd",
        "--block_size=16KiB",
        "--sync=false",
    ];
    let plain = ["--benchmarks=fillseq", "--num=20000"];
    let written = |words: &[&str]| json(&dir, words)[0]["bytes_written"].as_u64().unwrap();
    assert!(written(&packed) < written(&plain));
    let snappy = run(&dir, &["--compression_type=snappy"]);
    assert_eq!(snappy.status.code(), Some(1));
    assert!(stderr(&snappy).contains("unsupported: compression by snappy"), "{}", stderr(&snappy));
}

#[test]
fn what_is_wrong_is_said() {
    let dir = Dir::new();
    for (words, expected) in [
        (&["--benchmarks=fillfast"][..], "fillrandom"),
        (&["--benchmarks=fillbatch", "--num=10"], "fillbatch would do nothing"),
        (&["--benchmarks=mergerandom"], "--merge_operator"),
        (&["--num=0"], "--num"),
        (&["--threads=0"], "--threads"),
        (&["--memory_budget=lots"], "write 4096, 64KiB"),
        (&["--level=sure"], "use buffered, durable or fresh"),
        (&["--mode=soft"], "use software, hardware or twin"),
        (&["--counter_latency=-1"], "milliseconds"),
        (&["--use_existing_db"], "--db DIR"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let output = run(&dir, words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{words:?}: {}", stderr(&output));
    }
    let small = run(&dir, &["--benchmarks=fillseq", "--num=10", "--block_size=16"]);
    assert_eq!(small.status.code(), Some(2), "{}", stderr(&small));
    assert!(stderr(&small).contains("1KiB to 1MiB"), "{}", stderr(&small));
    let help = good(&dir, &["--help"]);
    for flag in
        ["--read_random_exp_range", "--readwritepercent", "--counter_latency", "--use_existing_db", "--json"]
    {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn an_interrupt_removes_what_was_made() {
    let dir = Dir::new();
    let words = ["--benchmarks=fillrandom", "--num=1000", "--duration=60"];
    let mut child = command(&dir, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let made = || {
        std::fs::read_dir(dir.path("tmp"))
            .unwrap()
            .flatten()
            .any(|entry| entry.path().join("data/wal").exists())
    };
    while !made() {
        assert_eq!(child.try_wait().unwrap(), None);
        door::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(dir.path("tmp")).unwrap().count(), 0);
}

/// `ringfort bench fresh` measures what it says: every run a line, the goals behind them.
#[test]
fn the_cost_of_freshness_is_measured() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.path("tmp")).unwrap();
    let words = "bench fresh --writers 2 --handles 4 --time 60ms --repeats 2 --counter-latency 500us --json";
    let words: Vec<&str> = words.split(' ').collect();
    let output = dir.command(&words).env("TMPDIR", dir.path("tmp")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("simulated counter, 500 us"), "{}", stderr(&output));
    assert!(std::fs::read_dir(dir.path("tmp")).unwrap().next().is_none(), "nothing stays behind");
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let runs: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "fresh").collect();
    let kinds: Vec<_> = runs.iter().map(|run| (run["level"].as_str().unwrap(), &run["writers"])).collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    for run in runs {
        assert_eq!(run["runs"].as_array().unwrap().len(), 2);
        assert!(run["median"]["ops_per_sec"].as_f64().unwrap() > 0.0, "{run}");
        if run["level"] == "fresh" {
            // No commit is anchored before an operation of the counter that takes so long (to 3 %).
            assert!(run["median"]["p50_us"].as_f64().unwrap() >= 480.0, "{run}");
            assert!(run["median"]["rounds_per_million"].as_f64().unwrap() > 0.0, "{run}");
        }
    }
    let goals: Vec<_> = lines.iter().filter_map(|line| line["goal"].as_str()).collect();
    assert_eq!(goals, ["fresh_against_durable", "closed_loop", "closed_loop", "closed_loop"]);
    let wrong = dir.command(&["bench", "fresh", "--handles", "0"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// `ringfort bench ycsb` and `tpcc`: one object with what came out; TPC-C's database is consistent afterwards.
#[test]
fn transactions_are_measured() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.path("tmp")).unwrap();
    let run = |words: &str| -> Value {
        let words: Vec<&str> = words.split(' ').collect();
        let output = dir.command(&words).env("TMPDIR", dir.path("tmp")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(std::fs::read_dir(dir.path("tmp")).unwrap().next().is_none(), "nothing stays behind");
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    for workload in ["a", "d", "e", "f", "treaty-80"] {
        let line = run(&format!(
            "bench ycsb --workload {workload} --records 2000 --operations 4 --clients 4 --duration 0.2 \
             --concurrency optimistic --level buffered --json"
        ));
        assert_eq!(line["workload"], workload);
        assert!(line["transactions_per_sec"].as_f64().unwrap() > 0.0, "{line}");
        assert!(
            line["operations_per_sec"].as_f64().unwrap() > line["transactions_per_sec"].as_f64().unwrap()
        );
    }
    let plot = dir.path("tpcc.svg");
    let line = run(&format!(
        "bench tpcc --warehouses 1 --terminals 4 --duration 1 --warm-up 0.1 --level fresh --json --plot {}",
        plot.display()
    ));
    assert_eq!(line["consistent"], true, "{line}");
    assert!(line["tpmc"].as_f64().unwrap() > 0.0 && line["abort_rate"].as_f64().unwrap() < 1.0, "{line}");
    // What rolls back as intended is counted apart from what met others.
    assert!((0.0..0.5).contains(&line["rollback_rate"].as_f64().unwrap()), "{line}");
    let kinds = line["kinds"].as_array().unwrap();
    let names: Vec<&str> = kinds.iter().map(|kind| kind["transaction"].as_str().unwrap()).collect();
    assert_eq!(names, ["New-Order", "Payment", "Order-Status", "Delivery", "Stock-Level"]);
    for kind in kinds {
        let at = |name: &str| kind[name].as_f64().unwrap();
        assert!(0.0 < at("p50_us") && at("p50_us") <= at("p99_us") && at("p99_us") <= at("max_us"), "{kind}");
        assert!(at("committed") > 0.0 && at("retries") >= 0.0, "{kind}");
        assert!(kind["transaction"] == "New-Order" || at("rolled_back") == 0.0, "{kind}");
    }
    let figure = std::fs::read_to_string(plot).unwrap();
    assert!(figure.starts_with("<svg") && figure.contains("TPC-C: throughput"), "{figure}");
    assert!(names.iter().all(|name| figure.contains(&format!(">{name}<"))));
    for words in [
        &["tpcc", "--warehouses", "0"][..],
        &["ycsb", "--clients", "0"],
        &["ycsb", "--warm-up", "-1"],
        &["tpcc", "--duration", "0"],
        &["ycsb", "--plot", "/nowhere/x.svg"],
    ] {
        let words: Vec<&str> = ["bench"].iter().chain(words).copied().collect();
        let wrong = dir.command(&words).output().unwrap();
        assert_eq!(wrong.status.code(), Some(2), "{words:?}: {}", stderr(&wrong));
    }
}

/// Without `--json` a table with a row for each kind of transaction, and the sum.
#[test]
fn transactions_are_shown_as_a_table() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.path("tmp")).unwrap();
    let words = "bench ycsb --workload treaty-80 --records 500 --clients 2 --duration 0.2 --level buffered";
    let words: Vec<&str> = words.split(' ').collect();
    let output = dir.command(&words).env("TMPDIR", dir.path("tmp")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    for start in ["loaded 500 records in ", "transaction ", "read ", "update ", "all "] {
        assert!(said.lines().any(|line| line.starts_with(start)), "{start}: {said}");
    }
    assert!(
        said.contains(" transactions/s, ") && said.contains(" % of all tries were begun again"),
        "{said}"
    );
}

/// `--target` runs on a server, with the level that is asked for, and says what cannot be.
#[test]
fn transactions_are_measured_on_a_server() {
    let dir = Dir::new();
    let server = dir.serve(&[]);
    let target = format!("resp://{}", server.resp);
    let bench = |words: &str| {
        let words: Vec<&str> =
            ["bench", "ycsb", "--target", &target].into_iter().chain(words.split(' ')).collect();
        dir.command(&words).output().unwrap()
    };
    let output = bench("--workload b --records 1000 --clients 3 --duration 0.3 --level buffered --json");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((line["target"].as_str(), line["level"].as_str()), (Some(&*target), Some("buffered")));
    assert!(line["server"].as_str().unwrap().starts_with("ringfort "), "{line}");
    assert_eq!(line["transactions"], "multi");
    let names: Vec<&Value> =
        line["kinds"].as_array().unwrap().iter().map(|kind| &kind["transaction"]).collect();
    assert_eq!(names, ["read", "update"]);
    assert!(line["transactions_per_sec"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!(
        format!("{:?}", server.client().call("DBSIZE")),
        "Integer(1000)",
        "updates are of what was loaded"
    );
    for (words, expected) in [
        ("--workload e", "no ordered scan"),
        ("--mode twin", "--mode"),
        ("--db /nowhere", "--db"),
        ("--target rediss://localhost:1", "TLS"),
    ] {
        let mut words: Vec<&str> = words.split(' ').collect();
        if !words.contains(&"--target") {
            words.extend(["--target", &target]);
        }
        let wrong = dir.command(&[&["bench", "ycsb"], &words[..]].concat()).output().unwrap();
        assert_eq!(wrong.status.code(), Some(2), "{words:?}: {}", stderr(&wrong));
        assert!(stderr(&wrong).contains(expected), "{words:?}: {}", stderr(&wrong));
    }
    let alone = dir.command(&["bench", "ycsb", "--interactive"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2), "{}", stderr(&alone));
    let nobody = dir.command(&["bench", "ycsb", "--target", "resp://127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1), "{}", stderr(&nobody));
}
