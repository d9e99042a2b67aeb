//! One request: its arguments, owned.
//!
//! Small arguments lie together in one allocation, with the protocol's own bytes between them
//! (one copy of the whole request is faster than one per argument); a large one has its own, so
//! that the value of a `SET` goes from the parser into a write batch without another copy.

/// An argument: a part of the request's common bytes, or bytes of its own.
#[derive(Clone)]
pub(crate) enum Arg {
    /// Position in `data`.
    Span {
        /// First byte.
        start: u32,
        /// Length in bytes.
        len: u32,
    },
    /// A large argument.
    Owned(Vec<u8>),
}

/// A parsed request. It has at least one argument: the command's name.
#[derive(Clone, Default)]
pub struct Request {
    pub(crate) args: Vec<Arg>,
    pub(crate) data: Vec<u8>,
}

impl Request {
    /// A request from arguments that are at hand (tests, and commands that a server gives itself).
    #[must_use]
    pub fn from_args(args: &[&[u8]]) -> Self {
        let args = args.iter().map(|arg| Arg::Owned(arg.to_vec())).collect();
        Self { args, data: Vec::new() }
    }

    /// Number of arguments, the command's name included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Whether there is no argument at all (never so for what a parser returns).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// The command's name as it was sent.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.arg(0).unwrap_or_default()
    }

    /// The argument at `index`; the command's name is at 0.
    #[must_use]
    pub fn arg(&self, index: usize) -> Option<&[u8]> {
        self.args.get(index).map(|arg| self.bytes_of(arg))
    }

    /// All arguments, the name first.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.args.iter().map(|arg| self.bytes_of(arg))
    }

    /// The arguments from `index` on.
    pub fn args_from(&self, index: usize) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.args.get(index..).unwrap_or_default().iter().map(|arg| self.bytes_of(arg))
    }

    /// Takes an argument out; a large one is moved, not copied. Empty if there is none at
    /// `index`, or if it was taken before.
    pub fn take_arg(&mut self, index: usize) -> Vec<u8> {
        match self.args.get_mut(index) {
            Some(Arg::Owned(bytes)) => std::mem::take(bytes),
            Some(span) => {
                let span = std::mem::replace(span, Arg::Span { start: 0, len: 0 });
                self.bytes_of(&span).to_vec()
            }
            None => Vec::new(),
        }
    }

    /// Bytes of memory that the request holds, for budgets.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let owned: usize = self
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Owned(bytes) => bytes.capacity(),
                Arg::Span { .. } => 0,
            })
            .sum();
        owned + self.data.capacity() + self.args.capacity() * size_of::<Arg>()
    }

    /// Whether a browser was talked into sending HTTP here: such a connection must be closed
    /// without an answer, or a web page could run commands on a server within its reader's reach.
    #[must_use]
    pub fn is_http(&self) -> bool {
        let name = self.name();
        name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
    }

    fn bytes_of<'a>(&'a self, arg: &'a Arg) -> &'a [u8] {
        match arg {
            Arg::Span { start, len } => {
                let start = *start as usize;
                self.data.get(start..start + *len as usize).unwrap_or_default()
            }
            Arg::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the arguments: they hold keys, values and passwords of users.
        write!(f, "Request({} arguments, {} bytes held)", self.len(), self.held_bytes())
    }
}
