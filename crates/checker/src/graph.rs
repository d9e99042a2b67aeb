//! The dependency graph: transactions, helper nodes, and edges with a kind.
//!
//! Helper nodes stand for "all of these" (see [`crate::chain`]) or for a moment
//! ([`crate::realtime`]), so that n × m edges become n + m. Edges out of a helper are
//! [`LINK`]: what a path means was said by the edge that entered.

/// The later of two versions was written by the target.
pub(crate) const WW: u8 = 1;
/// The target read what the source wrote.
pub(crate) const WR: u8 = 2;
/// The source read a version that the target replaced.
pub(crate) const RW: u8 = 4;
/// As [`RW`], but a scan of the source did not find the key.
pub(crate) const RW_PREDICATE: u8 = 8;
/// The source comes before the target in its session or in time.
pub(crate) const TIME: u8 = 16;
/// Goes on from a helper node.
pub(crate) const LINK: u8 = 32;

/// No key: an edge of time.
pub(crate) const NO_KEY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) to: u32,
    pub(crate) key: u32,
    pub(crate) kind: u8,
}

/// A graph under construction.
pub(crate) struct Builder {
    txns: u32,
    nodes: u32,
    edges: Vec<(u32, Edge)>,
}

impl Builder {
    pub(crate) fn new(txns: usize) -> Self {
        Self { txns: txns as u32, nodes: txns as u32, edges: Vec::new() }
    }

    /// A new helper node.
    pub(crate) fn helper(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    /// An edge, unless it would lead back to where it begins.
    pub(crate) fn edge(&mut self, from: u32, to: u32, kind: u8, key: u32) {
        if from != to {
            self.edges.push((from, Edge { to, key, kind }));
        }
    }

    pub(crate) fn finish(self) -> Graph {
        Graph::new(self.txns, self.nodes, &self.edges, (0..self.nodes).collect())
    }
}

/// Edges by their source.
pub(crate) struct Graph {
    /// Nodes below this are transactions.
    txns: u32,
    starts: Vec<u32>,
    edges: Vec<Edge>,
    /// What each node is called outside: a part of a graph keeps the names of the whole.
    names: Vec<u32>,
}

impl Graph {
    fn new(txns: u32, nodes: u32, edges: &[(u32, Edge)], names: Vec<u32>) -> Self {
        let mut starts = vec![0u32; nodes as usize + 1];
        for (from, _) in edges {
            starts[*from as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut sorted = vec![Edge { to: 0, key: NO_KEY, kind: 0 }; edges.len()];
        for (from, edge) in edges {
            sorted[next[*from as usize] as usize] = *edge;
            next[*from as usize] += 1;
        }
        Self { txns, starts, edges: sorted, names }
    }

    pub(crate) fn nodes(&self) -> u32 {
        self.names.len() as u32
    }

    pub(crate) fn edges(&self) -> usize {
        self.edges.len()
    }

    pub(crate) fn of(&self, node: u32) -> &[Edge] {
        &self.edges[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    pub(crate) fn name(&self, node: u32) -> u32 {
        self.names[node as usize]
    }

    pub(crate) fn is_txn(&self, node: u32) -> bool {
        self.name(node) < self.txns
    }

    /// The part that these nodes make, with the edges among them.
    pub(crate) fn part(&self, nodes: &[u32]) -> Graph {
        let mut sorted = nodes.to_vec();
        sorted.sort_unstable();
        let mut edges = Vec::new();
        for (from, &node) in sorted.iter().enumerate() {
            for edge in self.of(node) {
                if let Ok(to) = sorted.binary_search(&edge.to) {
                    edges.push((from as u32, Edge { to: to as u32, ..*edge }));
                }
            }
        }
        let names = sorted.iter().map(|&node| self.name(node)).collect();
        Graph::new(self.txns, sorted.len() as u32, &edges, names)
    }

    /// Groups of more than one node that reach each other by edges of the kinds in `mask` (Tarjan).
    pub(crate) fn components(&self, mask: u8) -> Vec<Vec<u32>> {
        Tarjan::new(self, mask).run()
    }
}

const UNSEEN: u32 = u32::MAX;

/// Tarjan's strongly connected components, without recursion.
struct Tarjan<'g> {
    graph: &'g Graph,
    mask: u8,
    index: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    /// Nodes on the way, each with the next of its edges.
    path: Vec<(u32, u32)>,
    next: u32,
    found: Vec<Vec<u32>>,
}

impl<'g> Tarjan<'g> {
    fn new(graph: &'g Graph, mask: u8) -> Self {
        let nodes = graph.nodes() as usize;
        Self {
            graph,
            mask: mask | LINK,
            index: vec![UNSEEN; nodes],
            low: vec![0; nodes],
            on_stack: vec![false; nodes],
            stack: Vec::new(),
            path: Vec::new(),
            next: 0,
            found: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Vec<u32>> {
        for root in 0..self.graph.nodes() {
            if self.index[root as usize] == UNSEEN {
                self.enter(root);
                while let Some(&(node, edge)) = self.path.last() {
                    self.step(node, edge);
                }
            }
        }
        self.found
    }

    fn enter(&mut self, node: u32) {
        self.index[node as usize] = self.next;
        self.low[node as usize] = self.next;
        self.next += 1;
        self.stack.push(node);
        self.on_stack[node as usize] = true;
        self.path.push((node, 0));
    }

    fn step(&mut self, node: u32, at: u32) {
        let Some(edge) = self.graph.of(node).get(at as usize) else { return self.leave(node) };
        if let Some(top) = self.path.last_mut() {
            top.1 += 1;
        }
        if edge.kind & self.mask == 0 {
            return;
        }
        let to = edge.to as usize;
        if self.index[to] == UNSEEN {
            self.enter(edge.to);
        } else if self.on_stack[to] {
            self.low[node as usize] = self.low[node as usize].min(self.index[to]);
        }
    }

    fn leave(&mut self, node: u32) {
        self.path.pop();
        let low = self.low[node as usize];
        if let Some(&(parent, _)) = self.path.last() {
            self.low[parent as usize] = self.low[parent as usize].min(low);
        }
        if low != self.index[node as usize] {
            return;
        }
        let from = self.stack.iter().rposition(|&member| member == node).unwrap_or(0);
        let members = self.stack.split_off(from);
        for &member in &members {
            self.on_stack[member as usize] = false;
        }
        if members.len() > 1 {
            self.found.push(members);
        }
    }
}
