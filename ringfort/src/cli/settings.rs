//! # Settings: one table, three ways to say each
//!
//! Every row of the table below is a flag, a key of the configuration file and an environment
//! variable; the struct, the help texts and the parsing are made from it, so the three cannot
//! drift apart.
//!
//! ```text
//!   --memory-budget 1GiB   >   RINGFORT_MEMORY_BUDGET=1GiB   >   memory-budget = "1GiB"   >   default
//! ```
//!
//! The file is TOML, flat; `memory_budget` is the same key. A key that no row has is an error that
//! names it: a typing error must not pass for a default.

use super::report::Failure;
use super::value::{Address, Bytes, Seconds, Span, Threads, Threshold, Value};
use clap::{Arg, ArgMatches, Command};
use ringfort::{Compression, KeyspaceOptions, Level, Mode, Options};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A row of the table.
pub(crate) struct Setting {
    /// The flag, without dashes; also the key in the file.
    pub(crate) flag: &'static str,
    pub(crate) value_name: &'static str,
    /// As it would be written; empty: none.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    /// Whether it is about serving only, or about any use of a store.
    pub(crate) serving: bool,
}

impl Setting {
    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("RINGFORT_{}", self.flag.replace('-', "_").to_uppercase())
    }
}

macro_rules! settings {
    ($($scope:ident $flag:literal $field:ident: $type:ty = $default:literal, $value_name:literal, $help:literal;)*) => {
        /// The settings of a store and of its server.
        #[derive(Debug)]
        pub(crate) struct Config {
            $(#[doc = $help] pub(crate) $field: $type,)*
        }

        /// The table.
        pub(crate) const SETTINGS: &[Setting] = &[
            $(Setting {
                flag: $flag,
                value_name: $value_name,
                default: $default,
                help: $help,
                serving: is_serving!($scope),
            },)*
        ];

        impl Config {
            fn from_sources(sources: &Sources<'_>) -> Result<Self, Failure> {
                Ok(Self { $($field: sources.value($flag)?,)* })
            }
        }
    };
}

macro_rules! is_serving {
    (store) => {
        false
    };
    (serve) => {
        true
    };
}

settings! {
    store "data" data: PathBuf = "./ringfort-data", "DIR",
        "The store's directory (the untrusted volume).";
    store "trusted" trusted: Option<PathBuf> = "", "DIR",
        "The trusted volume, for the modes hardware and twin.";
    store "store" store: String = "default", "NAME",
        "The name under which the platform knows the store.";
    store "mode" mode: Option<Mode> = "", "MODE",
        "software, hardware or twin; sealed when the store is created (software if not said).";
    store "platform-state" platform_state: Option<PathBuf> = "", "DIR",
        "State of the simulated platform; if not said, under the user's state directory. Keep it off the data's volume.";
    store "memory-budget" memory_budget: Bytes = "512MiB", "SIZE",
        "Memory for memtables, cache, indexes, filters and open tables.";
    store "direct-reads" direct_reads: Option<bool> = "", "BOOL",
        "Read tables past the system's page cache: true or false; if not said, where the budget is at least half of the memory.";
    store "max-total-wal-size" max_total_wal_size: Bytes = "512MiB", "SIZE",
        "Beyond this much log the keyspace that pins its oldest part is flushed.";
    store "anchor-window" anchor_window: Span = "100ms", "TIME",
        "What nobody waits for is anchored by the trusted counter within this time.";
    store "clock-step" clock_step: Span = "24h", "TIME",
        "The furthest that the host's clock may jump ahead and still be believed.";
    serve "counter-latency" counter_latency: Span = "0ms", "TIME",
        "Each operation of the simulated platform's counter takes this long, as a real one's would; it protects no better.";
    serve "resp" resp: Address = "127.0.0.1:6379", "ADDR",
        "Where Redis clients connect.";
    serve "admin" admin: Address = "127.0.0.1:7379", "ADDR",
        "Where /healthz and /metrics are; off for nowhere.";
    serve "level" level: Level = "fresh", "LEVEL",
        "What replies wait for unless a session says otherwise: buffered, durable or fresh.";
    serve "requirepass" requirepass: Option<String> = "", "PASSWORD",
        "What clients must AUTH with; better in the file or the environment than on a command line.";
    serve "maxclients" maxclients: u32 = "10000", "N",
        "Most connections at once.";
    serve "timeout" timeout: Seconds = "0", "TIME",
        "Close a connection that is idle for this long (whole seconds); 0 for never.";
    serve "connection-memory" connection_memory: Bytes = "1GiB", "SIZE",
        "Memory for the requests and replies of all connections; at least 64MiB.";
    serve "txn-idle-timeout" txn_idle_timeout: Span = "60s", "TIME",
        "Roll an interactive transaction back whose client sends nothing for this long; 0s for never.";
    serve "txn-lock-timeout" txn_lock_timeout: Span = "10s", "TIME",
        "The longest that a command of an interactive transaction waits for what others have locked.";
    serve "txn-memory" txn_memory: Bytes = "64MiB", "SIZE",
        "The most that a connection may hold for a transaction: queued commands, writes, watched keys.";
    serve "slowlog-slower-than" slowlog_slower_than: Threshold = "10ms", "TIME",
        "Commands that take longer are kept for SLOWLOG; off for none.";
    serve "write-buffer" write_buffer: Bytes = "64MiB", "SIZE",
        "A memtable of a new keyspace is flushed at this size.";
    serve "block-size" block_size: Bytes = "4KiB", "SIZE",
        "Data blocks of a new keyspace.";
    serve "compression" compression: Compression = "none", "CODEC",
        "Data blocks of a new keyspace: none, lz4 or zstd. Compression shows through lengths.";
    serve "separate-values-from" separate_values_from: Bytes = "8KiB", "SIZE",
        "Longer values of a new keyspace lie in files of their own; 0 for none.";
    serve "bloom-bits" bloom_bits: u32 = "10", "N",
        "Bits per key of a new keyspace's filters; 0 for none.";
    serve "threads" threads: Threads = "auto", "N",
        "Runtimes that serve connections; auto is one per core, at most four.";
    serve "log" log: String = "info", "FILTER",
        "What is logged to standard error, as in RUST_LOG.";
}

/// Flags of one command, as given. `ALL`: also those about serving.
pub(crate) struct Given<const ALL: bool>(pub(crate) BTreeMap<&'static str, String>);

/// The file's own flag.
const CONFIG: &str = "config";
const CONFIG_VARIABLE: &str = "RINGFORT_CONFIG";

/// What begins with this is meant for Ringfort.
const VARIABLE_PREFIX: &str = "RINGFORT_";
/// Variables that the tests and the scripts around them read.
const OTHER_VARIABLES: &[&str] = &["RINGFORT_LONG", "RINGFORT_CI_INSTALL", "RINGFORT_BLESS"];
/// Less would not hold one large value on its way in and another on its way out.
const CONNECTION_MEMORY_MIN: Bytes = Bytes(64 << 20);

/// What an environment answers: the value of a variable, or why it cannot be read.
type Environment<'a> = dyn Fn(&str) -> Result<Option<String>, Failure> + 'a;

impl<const ALL: bool> clap::Args for Given<ALL> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE.toml")
            .help(format!("Settings from this file, by the names below. [env: {CONFIG_VARIABLE}]"));
        let of_command = SETTINGS.iter().filter(|setting| ALL || !setting.serving);
        command.arg(config).args(of_command.map(|setting| {
            let default = match setting.default {
                "" => String::new(),
                text => format!(" [default: {text}]"),
            };
            let help = format!("{} [env: {}]{default}", setting.help, setting.variable());
            Arg::new(setting.flag).long(setting.flag).value_name(setting.value_name).help(help)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const ALL: bool> clap::FromArgMatches for Given<ALL> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of_command =
            SETTINGS.iter().filter(|setting| ALL || !setting.serving).map(|setting| setting.flag);
        let given = of_command.chain([CONFIG]).filter_map(|flag| {
            let text = matches.try_get_one::<String>(flag).ok().flatten()?;
            Some((flag, text.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Where values come from, the first that has one wins.
struct Sources<'a> {
    flags: &'a BTreeMap<&'static str, String>,
    environment: &'a Environment<'a>,
    file: BTreeMap<String, String>,
    file_name: String,
}

impl Sources<'_> {
    fn value<T: Value>(&self, flag: &str) -> Result<T, Failure> {
        let setting = SETTINGS.iter().find(|setting| setting.flag == flag).expect("each field has its row");
        let variable = setting.variable();
        let (text, origin) = if let Some(text) = self.flags.get(flag) {
            (text.clone(), format!("--{flag}"))
        } else if let Some(text) = (self.environment)(&variable)? {
            (text, variable)
        } else if let Some(text) = self.file.get(flag) {
            (text.clone(), format!("{flag} in {}", self.file_name))
        } else {
            (setting.default.to_owned(), format!("the default of --{flag}"))
        };
        T::parse(&text).map_err(|why| Failure::Usage(format!("{origin}: {why}")))
    }
}

impl Config {
    /// Flags over environment over file over defaults.
    pub(crate) fn load(flags: &BTreeMap<&'static str, String>) -> Result<Self, Failure> {
        Self::load_with(flags, &|variable| match std::env::var_os(variable).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Failure::Usage(format!("{variable}: its value is not UTF-8"))),
        })
    }

    fn load_with(
        flags: &BTreeMap<&'static str, String>,
        environment: &Environment<'_>,
    ) -> Result<Self, Failure> {
        let path = match flags.get(CONFIG) {
            Some(path) => Some(path.clone()),
            None => environment(CONFIG_VARIABLE)?,
        };
        let file = path.as_deref().map(|path| read_file(Path::new(path))).transpose()?.unwrap_or_default();
        let file_name = path.unwrap_or_default();
        let config = Self::from_sources(&Sources { flags, environment, file, file_name })?;
        if config.connection_memory.0 < CONNECTION_MEMORY_MIN.0 {
            return Err(Failure::Usage("--connection-memory: at least 64MiB are needed".to_owned()));
        }
        Ok(config)
    }

    /// How the store is opened.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(&self.data)
            .store_name(&self.store)
            .memory_budget(usize::try_from(self.memory_budget.0).unwrap_or(usize::MAX))
            .max_total_wal_size(self.max_total_wal_size.0)
            .anchor_window(self.anchor_window.0)
            .clock_step_max(self.clock_step.0)
            .counter_latency(self.counter_latency.0)
            .level(self.level)
            .keyspace_defaults(self.keyspace_options());
        if let Some(trusted) = &self.trusted {
            options = options.trusted(trusted);
        }
        if let Some(mode) = self.mode {
            options = options.mode(mode);
        }
        if let Some(state) = &self.platform_state {
            options = options.platform_state(state);
        }
        if let Some(direct) = self.direct_reads {
            options = options.direct_reads(direct);
        }
        options
    }

    /// How new keyspaces are made.
    pub(crate) fn keyspace_options(&self) -> KeyspaceOptions {
        KeyspaceOptions {
            write_buffer_bytes: usize::try_from(self.write_buffer.0).unwrap_or(usize::MAX),
            block_bytes: usize::try_from(self.block_size.0).unwrap_or(usize::MAX),
            bloom_bits_per_key: self.bloom_bits,
            separate_values_from_bytes: usize::try_from(self.separate_values_from.0).unwrap_or(usize::MAX),
            compression: self.compression,
            ..KeyspaceOptions::default()
        }
    }
}

/// The variables among `names` that look like settings and are none: a typing error there must not
/// go unseen either, though somebody else's variable is no reason to refuse.
pub(crate) fn unknown_variables(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut unknown: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(VARIABLE_PREFIX))
        .filter(|name| name != CONFIG_VARIABLE && !OTHER_VARIABLES.contains(&name.as_str()))
        .filter(|name| !SETTINGS.iter().any(|setting| setting.variable() == *name))
        .collect();
    unknown.sort();
    unknown
}

/// The keys of a file, as flags, with their values as they would be written on the command line.
fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let shown = path.display();
    let usage = |why: String| Failure::Usage(format!("{shown}: {why}"));
    let text = std::fs::read_to_string(path).map_err(|e| usage(format!("cannot read it: {e}")))?;
    let table: toml::Table = text.parse().map_err(|e| usage(format!("not TOML: {e}")))?;
    let mut found = BTreeMap::new();
    for (key, value) in table {
        let flag = key.replace('_', "-");
        if !SETTINGS.iter().any(|setting| setting.flag == flag) {
            let known: Vec<_> = SETTINGS.iter().map(|setting| setting.flag).collect();
            return Err(usage(format!("there is no setting '{key}'; there are {}", known.join(", "))));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            other => {
                return Err(usage(format!("'{key}' is a {}; write it as a string", other.type_str())));
            }
        };
        if found.insert(flag, text).is_some() {
            return Err(usage(format!("'{key}' is set twice")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn load(flags: &[(&'static str, &str)], env: &[(&str, &str)]) -> Result<Config, Failure> {
        let flags = flags.iter().map(|(flag, text)| (*flag, (*text).to_owned())).collect();
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Config::load_with(&flags, &|name| Ok(env.get(name).cloned()))
    }

    fn usage(result: Result<Config, Failure>) -> String {
        match result {
            Err(Failure::Usage(text)) => text,
            other => panic!("not refused as a wrong setting: {other:?}"),
        }
    }

    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("ringfort-settings-{}-{name}.toml", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn flag(&self) -> (&'static str, &str) {
            (CONFIG, self.0.to_str().unwrap())
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn every_setting_is_a_flag_with_help_a_variable_and_a_key() {
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut("serve").unwrap();
        let help = serve.render_long_help().to_string();
        for setting in SETTINGS {
            let flag = format!("--{} <{}>", setting.flag, setting.value_name);
            assert!(help.contains(&flag), "no help for {flag}");
            let variable = format!("[env: {}]", setting.variable());
            assert!(help.contains(&variable), "no help for {variable}");
            let arg = serve.get_arguments().find(|arg| arg.get_long() == Some(setting.flag)).unwrap();
            assert!(arg.get_help().is_some_and(|text| text.to_string().starts_with(setting.help)));
        }
        // Each of the three is heeded: a value that nothing can be is refused by its own name.
        let any_text = ["store", "requirepass", "log", "trusted", "platform-state"];
        for setting in SETTINGS.iter().filter(|setting| !any_text.contains(&setting.flag)) {
            let (flag, bad) = (setting.flag, if setting.flag == "data" { "" } else { "?" });
            assert!(usage(load(&[(flag, bad)], &[])).starts_with(&format!("--{flag}:")));
            let variable = setting.variable();
            assert!(usage(load(&[], &[(&variable, bad)])).starts_with(&format!("{variable}:")));
            for key in [flag.to_owned(), flag.replace('-', "_")] {
                let file = File::new(&key, &format!("{key} = {bad:?}"));
                assert!(usage(load(&[file.flag()], &[])).starts_with(&format!("{flag} in ")));
            }
        }
        for flag in any_text {
            let said = |config: Config| format!("{config:?}").contains("/any/text");
            let variable = SETTINGS.iter().find(|setting| setting.flag == flag).unwrap().variable();
            assert!(said(load(&[(flag, "/any/text")], &[]).unwrap()), "{flag}");
            assert!(said(load(&[], &[(&variable, "/any/text")]).unwrap()), "{variable}");
            let file = File::new(flag, &format!("{flag} = \"/any/text\""));
            assert!(said(load(&[file.flag()], &[]).unwrap()), "{flag} in the file");
        }
    }

    #[test]
    fn variables_that_are_no_settings_are_found() {
        let names = [
            "RINGFORT_MAXCLIENT",
            "RINGFORT_STORE",
            "RINGFORT_CONFIG",
            "RINGFORT_LONG",
            "RUST_LOG",
            "RINGFORT_",
        ];
        let unknown = unknown_variables(names.iter().map(OsString::from));
        assert_eq!(unknown, ["RINGFORT_", "RINGFORT_MAXCLIENT"]);
    }

    #[test]
    fn what_would_mean_something_else_further_in_is_refused() {
        assert!(usage(load(&[("timeout", "500ms")], &[])).starts_with("--timeout: '500ms'"));
        assert!(
            usage(load(&[("connection-memory", "63MiB")], &[])).starts_with("--connection-memory: at least")
        );
        assert_eq!(load(&[("connection-memory", "64MiB")], &[]).unwrap().connection_memory, Bytes(64 << 20));
    }

    #[test]
    fn the_defaults_serve_without_an_argument() {
        let config = load(&[], &[]).unwrap();
        assert_eq!(config.data, Path::new("./ringfort-data"));
        assert_eq!(config.resp, Address(Some("127.0.0.1:6379".to_owned())));
        assert_eq!(config.admin, Address(Some("127.0.0.1:7379".to_owned())));
        assert_eq!((config.level, config.mode), (Level::Fresh, None));
        assert_eq!(config.memory_budget, Bytes(512 << 20));
        assert!((1..=4).contains(&config.threads.0));
        assert_eq!(config.keyspace_options(), KeyspaceOptions::default(), "what the library does by default");
    }

    #[test]
    fn flags_precede_the_environment_the_file_and_defaults() {
        let file = File::new(
            "order",
            "memory-budget = \"1GiB\"\nmaxclients = 7\nstore = \"file\"\nlevel = \"durable\"",
        );
        let env = [("RINGFORT_MEMORY_BUDGET", "2GiB"), ("RINGFORT_STORE", "env")];
        let config = load(&[file.flag(), ("memory-budget", "3GiB")], &env).unwrap();
        assert_eq!(config.memory_budget, Bytes(3 << 30), "the flag");
        assert_eq!(config.store, "env", "the environment");
        assert_eq!((config.maxclients, config.level), (7, Level::Durable), "the file");
        assert_eq!(config.bloom_bits, 10, "the default");
        // The file itself can be named by the environment.
        let (_, path) = file.flag();
        assert_eq!(load(&[], &[(CONFIG_VARIABLE, path)]).unwrap().maxclients, 7);
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        for (name, text, expected) in [
            ("unknown", "memory_budgte = \"1GiB\"", "there is no setting 'memory_budgte'"),
            ("nested", "[server]\nresp = \"x\"", "there is no setting 'server'"),
            ("type", "resp = true", "'resp' is a boolean"),
            ("twice", "max-clients = 1", "there is no setting 'max-clients'"),
            ("both", "block-size = 1024\nblock_size = 2048", "is set twice"),
            ("toml", "resp =", "not TOML"),
        ] {
            let file = File::new(name, text);
            let said = usage(load(&[file.flag()], &[]));
            assert!(said.contains(expected), "{said}");
        }
        assert!(usage(load(&[(CONFIG, "/nowhere/x.toml")], &[])).contains("cannot read it"));
    }
}
