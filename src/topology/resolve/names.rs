//! Who is called what: counts expanded, names checked, references found.

use std::{cell::Cell, collections::HashMap, ops::Range};

use super::{Code, Diagnostic, Draft, Text, ast};
use crate::topology::suggest::nearest;

/// Nodes a topology may have, counts expanded.
pub const MAX_NODES: usize = 65_536;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    Node(usize),
    Host(usize),
    Switch(usize),
    Nic(usize),
}

impl Thing {
    fn word(self) -> &'static str {
        match self {
            Thing::Node(_) => "node",
            Thing::Host(_) => "host",
            Thing::Switch(_) => "switch",
            Thing::Nic(_) => "nic",
        }
    }
}

/// A node after its count was expanded.
pub struct NodeDecl<'f> {
    pub name: String,
    pub span: Range<usize>,
    pub ast: &'f ast::Node,
    /// Is it one of several from one table?
    pub numbered: bool,
}

/// All names of a file.
pub struct Names<'f> {
    pub nodes: Vec<NodeDecl<'f>>,
    pub hosts: Vec<(&'f Text, &'f ast::Host)>,
    pub switches: Vec<(&'f Text, &'f ast::Switch)>,
    pub nics: Vec<(&'f Text, &'f ast::Nic)>,
    index: HashMap<String, (Thing, Range<usize>)>,
    groups: HashMap<&'f str, u32>,
    early: Vec<Diagnostic>,
    /// Suggestions cost a walk over all names: a file with thousands of slips gets them for the first ones.
    suggestions: Cell<u32>,
}

impl<'f> Names<'f> {
    pub fn collect(file: &'f ast::File) -> Self {
        let mut names = Self {
            nodes: Vec::new(),
            hosts: file.host.iter().map(|(name, host)| (name, host)).collect(),
            switches: file.switch.iter().map(|(name, switch)| (name, switch)).collect(),
            nics: file.nic.iter().map(|(name, nic)| (name, nic)).collect(),
            index: HashMap::new(),
            groups: HashMap::new(),
            early: Vec::new(),
            suggestions: Cell::new(100),
        };
        for (name, node) in file.node.iter() {
            names.expand(name, node);
        }
        for index in 0..names.nodes.len() {
            let (name, span) = (names.nodes[index].name.clone(), names.nodes[index].span.clone());
            names.insert(name, span, Thing::Node(index));
        }
        for (index, (name, _)) in file.host.iter().enumerate() {
            names.insert(name.value.clone(), name.span.clone(), Thing::Host(index));
        }
        for (index, (name, _)) in file.switch.iter().enumerate() {
            names.insert(name.value.clone(), name.span.clone(), Thing::Switch(index));
        }
        for (index, (name, _)) in file.nic.iter().enumerate() {
            names.insert(name.value.clone(), name.span.clone(), Thing::Nic(index));
        }
        names
    }

    fn expand(&mut self, name: &'f Text, node: &'f ast::Node) {
        let declare = |full: String, numbered| NodeDecl { name: full, span: name.span.clone(), ast: node, numbered };
        let start = self.nodes.len();
        match &node.count {
            None => self.nodes.push(declare(name.value.clone(), false)),
            Some(count) => {
                self.groups.insert(&name.value, count.value);
                let room = MAX_NODES.saturating_sub(start);
                if count.value as usize > room {
                    let message = format!("with this `count` the topology has more than {MAX_NODES} nodes");
                    self.early.push(Diagnostic::error(Code::OutOfRange, count.span.clone(), message));
                }
                let made = room.min(count.value as usize);
                self.nodes.extend((0..made).map(|number| declare(format!("{}{number}", name.value), true)));
            }
        }
    }

    fn insert(&mut self, name: String, span: Range<usize>, thing: Thing) {
        if let Some((other, first)) = self.index.get(&name) {
            let shown = name.escape_debug();
            let message = format!("`{shown}` names both a {} and a {}", other.word(), thing.word());
            let message = match other.word() == thing.word() {
                true => format!("`{shown}` is declared twice"),
                false => message,
            };
            let label = format!("`{shown}` is first declared here");
            self.early.push(Diagnostic::error(Code::Duplicate, span, message).label(first.clone(), label));
            return;
        }
        self.index.insert(name, (thing, span));
    }

    /// What a name stands for.
    pub fn get(&self, name: &str) -> Option<Thing> {
        self.index.get(name).map(|(thing, _)| *thing)
    }

    /// The thing a reference means, if it is one of the wanted kinds; `name` may be a part of the text at `span`.
    pub fn find(&self, name: &str, span: &Range<usize>, wanted: &[&str]) -> Result<Thing, Box<Diagnostic>> {
        let shown = name.escape_debug();
        let kinds = match wanted {
            [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
            _ => wanted.join(""),
        };
        let unknown = |message: String| Diagnostic::error(Code::Dangling, span.clone(), message);
        let diagnostic = match self.index.get(name) {
            Some((thing, _)) if wanted.contains(&thing.word()) => return Ok(*thing),
            Some((thing, declared)) => unknown(format!("`{shown}` is a {}, not a {kinds}", thing.word()))
                .label(declared.clone(), "declared here"),
            None if self.suggestions.get() == 0 => unknown(format!("there is no {kinds} `{shown}`")),
            None => {
                self.suggestions.set(self.suggestions.get() - 1);
                let diagnostic = unknown(format!("there is no {kinds} `{shown}`"));
                let known = self.index.iter().filter(|(_, (thing, _))| wanted.contains(&thing.word()));
                let mut known: Vec<&str> = known.map(|(name, _)| name.as_str()).take(10_000).collect();
                known.sort_unstable();
                match (self.groups.get(name), nearest(name, known.iter().copied())) {
                    (Some(count), _) => diagnostic.help(format!(
                        "`{shown}` has `count = {count}`: write `{shown}*` for all of them where a pattern may stand, or one by number, `{shown}0`"
                    )),
                    (None, Some(near)) => diagnostic.note(format!("did you mean `{near}`?")),
                    (None, None) if wanted.len() == 1 => diagnostic.help(format!("declare it: `[{kinds}.{shown}]`")),
                    (None, None) => diagnostic,
                }
            }
        };
        Err(Box::new(diagnostic))
    }

    /// Nodes whose name matches a pattern of `*` and `?`, in order.
    pub fn matching(&self, pattern: &str) -> Vec<usize> {
        let pattern = pattern.as_bytes();
        (0..self.nodes.len()).filter(|&node| matches(pattern, self.nodes[node].name.as_bytes())).collect()
    }
}

/// Does `text` match a pattern of `*` (any text) and `?` (one character)?
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Checks the names themselves.
pub fn check(draft: &mut Draft<'_>) {
    let early = std::mem::take(&mut draft.names.early);
    draft.diagnostics.extend(early);
    let name = &draft.file.name;
    if let Some(why) = bad_name(&name.value, 32, false) {
        let message = format!("`{}` cannot name a topology: {why}", name.value.escape_debug());
        draft.diagnostics.push(Diagnostic::error(Code::BadName, name.span.clone(), message));
    }
    let mut found = Vec::new();
    for (name, node) in draft.file.node.iter() {
        let longest = match &node.count {
            Some(count) => format!("{}{}", name.value, count.value.saturating_sub(1)),
            None => name.value.clone(),
        };
        found.extend(check_name("node", &longest, name));
    }
    found.extend(draft.names.hosts.iter().filter_map(|(name, _)| check_name("host", &name.value, name)));
    found.extend(draft.names.switches.iter().filter_map(|(name, _)| check_name("switch", &name.value, name)));
    found.extend(draft.names.nics.iter().filter_map(|(name, _)| check_name("NIC", &name.value, name)));
    draft.diagnostics.extend(found);
}

fn check_name(kind: &str, full: &str, name: &Text) -> Option<Diagnostic> {
    let why = bad_name(full, 15, true)?;
    let message = format!("`{}` cannot name a {kind}: {why}", full.escape_debug());
    Some(Diagnostic::error(Code::BadName, name.span.clone(), message))
}

/// Why a name cannot be used, if it cannot.
fn bad_name(name: &str, longest: usize, underscore: bool) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || (underscore && b == b'_');
    if name.is_empty() {
        return Some("it is empty".into());
    }
    if name == "self" || name == "fabric" {
        return Some("netbench uses the word for itself".into());
    }
    if !name.bytes().all(allowed) {
        let also = if underscore { "`-` and `_`" } else { "and `-`" };
        return Some(format!("it may hold lower-case letters, digits, {also}"));
    }
    if !name.as_bytes()[0].is_ascii_alphanumeric() {
        return Some("it starts with a letter or a digit".into());
    }
    (name.len() > longest).then(|| format!("it has {} bytes, {longest} are allowed", name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("c*", "c0", true),
            ("c*", "c", true),
            ("c?", "c", false),
            ("*", "anything", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxbxx", false),
            ("c1*9", "c119", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
