//! The order in which `alembic history` lists revisions, and what its revision identifiers mean: `head`, `ae10`,
//! `ae1027+2`, `billing@head`, `-3`.
//!
//! Behaves as `alembic/script/revision.py` of Alembic 1.20.1; tests/history.rs compares the two. Where a revision has
//! several labels, or depends on several others, Alembic has no order; here it is that of the names, or of the file.

use std::collections::{BTreeMap, BTreeSet};

use crate::migration::Migration;

/// A revision by its place in Alembic's order of loading.
type Node = usize;

/// The revisions of a history, as Alembic has loaded them, and how they follow each other.
#[derive(Debug)]
pub struct Lineage {
    revisions: Vec<Revision>,
    /// Ids and branch labels.
    names: BTreeMap<String, Node>,
}

/// What is known of one revision beyond its file.
#[derive(Debug, Default)]
struct Revision {
    id: String,
    parents: Vec<Node>,
    /// What it depends on, besides.
    dependencies: Vec<Node>,
    /// Of these, what none of its ancestors depends on.
    own_dependencies: Vec<Node>,
    children: BTreeSet<Node>,
    /// Children, and what depends on it.
    followers: BTreeSet<Node>,
    labels: BTreeSet<String>,
}

/// What `alembic history` says about a revision besides its id.
#[expect(clippy::struct_excessive_bools, reason = "a mark is a bool")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// All labels of its branch, sorted.
    pub labels: Vec<String>,
    pub head: bool,
    /// No revision follows it, but one depends on it.
    pub effective_head: bool,
    pub branchpoint: bool,
    pub mergepoint: bool,
}

/// What an identifier without its branch stands for.
enum Named {
    Some(Vec<Node>),
    Base,
}

impl Lineage {
    /// The lineage of migrations that stand in Alembic's order of loading: by version location, then by file name.
    ///
    /// # Errors
    /// The revisions follow each other in a circle.
    pub fn new(loaded: &[&Migration]) -> Result<Self, String> {
        let mut names: BTreeMap<String, Node> = BTreeMap::new();
        let mut revisions: Vec<Revision> = Vec::with_capacity(loaded.len());
        for (node, migration) in loaded.iter().enumerate() {
            names.insert(migration.revision.clone(), node);
            revisions.push(Revision {
                id: migration.revision.clone(),
                labels: migration.branch_labels.iter().cloned().collect(),
                ..Revision::default()
            });
        }
        for (node, migration) in loaded.iter().enumerate() {
            for label in &migration.branch_labels {
                names.entry(label.clone()).or_insert(node);
            }
        }
        for (node, migration) in loaded.iter().enumerate() {
            let find = |name: &String| names.get(name).copied();
            let parents: Vec<Node> = migration.down_revisions.iter().filter_map(find).collect();
            let dependencies: Vec<Node> = migration.depends_on.iter().filter_map(find).collect();
            for parent in &parents {
                revisions[*parent].children.insert(node);
            }
            for followed in parents.iter().chain(&dependencies) {
                revisions[*followed].followers.insert(node);
            }
            revisions[node].parents = parents;
            revisions[node].dependencies = dependencies;
        }
        let mut lineage = Self { revisions, names };
        lineage.refuse_circles()?;
        lineage.narrow_dependencies();
        lineage.spread_labels();
        Ok(lineage)
    }

    fn refuse_circles(&self) -> Result<(), String> {
        let mut waiting: Vec<usize> = Vec::with_capacity(self.revisions.len());
        for revision in &self.revisions {
            let followed: BTreeSet<Node> =
                revision.parents.iter().chain(&revision.dependencies).copied().collect();
            waiting.push(followed.len());
        }
        let mut ready: Vec<Node> = (0..waiting.len()).filter(|node| waiting[*node] == 0).collect();
        let mut done = 0;
        while let Some(node) = ready.pop() {
            done += 1;
            for follower in &self.revisions[node].followers {
                waiting[*follower] -= 1;
                if waiting[*follower] == 0 {
                    ready.push(*follower);
                }
            }
        }
        if done == self.revisions.len() {
            return Ok(());
        }
        let stuck = (0..waiting.len()).filter(|node| waiting[*node] > 0);
        let mut ids: Vec<&str> = stuck.map(|node| self.revisions[node].id.as_str()).collect();
        ids.sort_unstable();
        Err(format!(
            "the revisions follow each other in a circle, or follow one that does: {}",
            ids.join(", ")
        ))
    }

    /// What an ancestor depends on already says nothing new.
    fn narrow_dependencies(&mut self) {
        for node in 0..self.revisions.len() {
            let mut own: BTreeSet<Node> = self.revisions[node].dependencies.iter().copied().collect();
            if own.is_empty() {
                continue;
            }
            let ancestors = self.reach([node], |revision| revision.parents.clone());
            for ancestor in ancestors.into_iter().filter(|ancestor| *ancestor != node) {
                for dependency in &self.revisions[ancestor].dependencies {
                    own.remove(dependency);
                }
            }
            let mut narrowed = Vec::new();
            for dependency in &self.revisions[node].dependencies {
                if own.remove(dependency) {
                    narrowed.push(*dependency);
                }
            }
            self.revisions[node].own_dependencies = narrowed;
        }
    }

    /// The label of a revision holds for all that follow it; and, where these are a single line, for the line above it,
    /// too.
    fn spread_labels(&mut self) {
        let labelled: Vec<(Node, BTreeSet<String>)> = self
            .revisions
            .iter()
            .enumerate()
            .filter(|(_, revision)| !revision.labels.is_empty())
            .map(|(node, revision)| (node, revision.labels.clone()))
            .collect();
        for (node, labels) in labelled {
            for below in self.reach([node], |revision| revision.children.iter().copied().collect()) {
                self.revisions[below].labels.extend(labels.iter().cloned());
            }
            let mut end = node;
            while let (1, Some(child)) =
                (self.revisions[end].children.len(), self.revisions[end].children.first())
            {
                end = *child;
            }
            let mut above = Some(end);
            while let Some(revision) = above.map(|node| &mut self.revisions[node]) {
                if revision.followers.len() > 1 || revision.parents.len() > 1 {
                    break;
                }
                revision.labels.extend(labels.iter().cloned());
                above = revision.parents.first().copied();
            }
        }
    }

    /// Everything that is reached from some revisions, these included.
    fn reach(
        &self,
        from: impl IntoIterator<Item = Node>,
        next: impl Fn(&Revision) -> Vec<Node>,
    ) -> BTreeSet<Node> {
        let mut found = BTreeSet::new();
        let mut todo: Vec<Node> = from.into_iter().collect();
        while let Some(node) = todo.pop() {
            if found.insert(node) {
                todo.extend(next(&self.revisions[node]));
            }
        }
        found
    }

    /// What runs before some revisions, these included.
    fn ancestors(&self, of: impl IntoIterator<Item = Node>) -> BTreeSet<Node> {
        self.reach(of, Revision::before)
    }

    fn descendants(&self, of: impl IntoIterator<Item = Node>) -> BTreeSet<Node> {
        self.reach(of, |revision| revision.children.iter().copied().collect())
    }

    fn nodes(&self, which: impl Fn(&Revision) -> bool) -> Vec<Node> {
        (0..self.revisions.len()).filter(|node| which(&self.revisions[*node])).collect()
    }

    /// What is marked at a revision.
    #[must_use]
    pub fn marks(&self, node: usize) -> Marks {
        let revision = &self.revisions[node];
        let head = revision.followers.is_empty();
        Marks {
            labels: revision.labels.iter().cloned().collect(),
            head,
            effective_head: revision.children.is_empty() && !head,
            branchpoint: revision.children.len() > 1,
            mergepoint: revision.parents.len() > 1,
        }
    }

    /// A revision and all that runs before it.
    #[must_use]
    pub fn with_ancestors(&self, nodes: &[usize]) -> BTreeSet<usize> {
        self.ancestors(nodes.iter().copied())
    }

    /// The revisions of `START:END`, newest first, as `alembic history -r` lists them. Without a start, from the base
    /// on; without an end, up to all heads. `current` stands for the given revisions.
    ///
    /// # Errors
    /// Something in the range is not there, or not the only one of its kind; the end does not follow the start.
    pub fn range(&self, range: &str, current: Option<&[usize]>) -> Result<Vec<usize>, String> {
        let Some((start, end)) = range.trim().split_once(':').filter(|(_, end)| !end.contains(':')) else {
            return Err(format!("`{range}` is no range of revisions: START:END, START: or :END"));
        };
        let start = if start.is_empty() { "base" } else { start };
        let end = if end.is_empty() { "heads" } else { end };
        let known = |name: &str| match (name, current) {
            ("current", Some(current)) => Ok(Some(current.to_vec())),
            ("current", None) => {
                Err("`current` is what a database says: `--applied DATABASE_URL`".to_owned())
            }
            _ => Ok(None),
        };
        let ends = match known(end)? {
            Some(current) => current,
            None => self.ends(start, end)?,
        };
        let ends = match start.split_once('@') {
            Some((branch, _)) => {
                let label = self.label_of(branch)?;
                ends.into_iter().filter(|node| self.revisions[*node].labels.contains(&label)).collect()
            }
            None => ends,
        };
        let starts = match known(start)? {
            Some(current) => current,
            None => self.find(start)?,
        };
        let required = self.ancestors(ends.iter().copied());
        if starts.iter().any(|node| !required.contains(node)) {
            return Err(format!("`{end}` does not follow `{start}`"));
        }
        let mut wanted: BTreeSet<Node> =
            required.difference(&self.ancestors(starts.iter().copied())).copied().collect();
        if !starts.is_empty() {
            wanted.extend(&starts);
            let below = self.descendants(starts);
            wanted.retain(|node| below.contains(node));
        }
        let number = wanted.len();
        let sorted = self.newest_first(wanted, &ends);
        if sorted.len() < number {
            return Err(format!("`{end}` follows `{start}` only in that it depends on it"));
        }
        Ok(sorted)
    }

    /// All revisions, newest first.
    #[must_use]
    pub fn all(&self) -> Vec<usize> {
        let heads = self.nodes(|revision| revision.followers.is_empty());
        self.newest_first((0..self.revisions.len()).collect(), &heads)
    }

    /// The revisions that an identifier names; none for `base`.
    ///
    /// # Errors
    /// It names nothing, or several things at once.
    pub fn find(&self, name: &str) -> Result<Vec<usize>, String> {
        let (branch, symbol) = match name.split_once('@') {
            Some((branch, symbol)) => (Some(branch).filter(|branch| !branch.is_empty()), symbol),
            None => (None, name),
        };
        if let Ok(steps) = symbol.parse::<i64>()
            && steps < 0
        {
            let heads = self.nodes(|revision| revision.followers.is_empty());
            let on_branch =
                |node: &Node| branch.is_none_or(|branch| self.revisions[*node].labels.contains(branch));
            let mut found = Vec::new();
            for head in heads.into_iter().filter(on_branch) {
                // Further than the base is the base.
                found.extend(self.walk(Some(head), steps, None)?);
            }
            return Ok(found);
        }
        match self.named(symbol, branch)? {
            Named::Base => Ok(Vec::new()),
            Named::Some(found) => {
                if let Some(branch) = branch {
                    let branch_node = self.branch(branch)?;
                    if found.iter().any(|node| !self.share_a_line(*node, branch_node)) {
                        return Err(format!("`{symbol}` is not on the branch `{branch}`"));
                    }
                }
                Ok(found)
            }
        }
    }

    /// The one revision of an identifier; `None` is the base.
    fn find_one(&self, name: &str) -> Result<Option<Node>, String> {
        let found = self.find(name)?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(format!("`{name}` names several revisions")),
        }
    }

    fn named(&self, symbol: &str, branch: Option<&str>) -> Result<Named, String> {
        let tips = |tips: Vec<Node>| -> Result<Vec<Node>, String> {
            let Some(branch) = branch else { return Ok(tips) };
            let branch = self.branch(branch)?;
            Ok(tips.into_iter().filter(|node| self.share_a_line(*node, branch)).collect())
        };
        match symbol {
            "base" => return Ok(Named::Base),
            "heads" if branch.is_none() => {
                return Ok(Named::Some(self.nodes(|revision| revision.followers.is_empty())));
            }
            "heads" => {
                return Ok(Named::Some(tips(self.nodes(|revision| revision.children.is_empty()))?));
            }
            "head" => {
                let heads = tips(self.nodes(|revision| revision.children.is_empty()))?;
                if heads.len() > 1 {
                    let ids: Vec<&str> = heads.iter().map(|node| self.revisions[*node].id.as_str()).collect();
                    return Err(format!(
                        "there are several heads: {}\nhint: name one of them, or `heads` for all",
                        ids.join(", ")
                    ));
                }
                return Ok(if heads.is_empty() { Named::Base } else { Named::Some(heads) });
            }
            _ => {}
        }
        if let Some(node) = self.names.get(symbol) {
            return Ok(Named::Some(vec![*node]));
        }
        // The beginning of an id will do, if there are no others.
        let mut begun: Vec<(&String, Node)> = self
            .names
            .iter()
            .filter(|(name, _)| !symbol.is_empty() && name.len() > 3 && name.starts_with(symbol))
            .map(|(name, node)| (name, *node))
            .collect();
        if let Some(branch) = branch {
            let branch = self.branch(branch)?;
            begun.retain(|(_, node)| self.share_a_line(*node, branch));
        }
        match begun.as_slice() {
            [] => Err(format!("there is no revision or branch `{symbol}`")),
            [(_, node)] => Ok(Named::Some(vec![*node])),
            several => {
                let names: Vec<String> = several.iter().map(|(name, _)| format!("`{name}`")).collect();
                Err(format!("`{symbol}` is the beginning of several ids: {}", names.join(", ")))
            }
        }
    }

    fn branch(&self, name: &str) -> Result<Node, String> {
        match self.named(name, None) {
            Ok(Named::Some(found)) if found.len() == 1 => Ok(found[0]),
            _ => Err(format!("there is no branch `{name}`")),
        }
    }

    /// The label of a branch that is named by a label or by a revision on it.
    fn label_of(&self, branch: &str) -> Result<String, String> {
        let revision = &self.revisions[self.branch(branch)?];
        if revision.id != branch {
            return Ok(branch.to_owned());
        }
        let mut labels = revision.labels.iter();
        match (labels.next(), labels.next()) {
            (Some(label), None) => Ok(label.clone()),
            _ => Err(format!("`{branch}` is on no branch that has a label, or on several")),
        }
    }

    fn share_a_line(&self, one: Node, other: Node) -> bool {
        self.descendants([one]).contains(&other)
            || self.reach([one], |revision| revision.parents.clone()).contains(&other)
    }

    /// Up or down from a revision (`None`: the base), as many steps as there are; `None` is the base.
    fn walk(&self, from: Option<Node>, steps: i64, branch: Option<&str>) -> Result<Option<Node>, String> {
        let mut at = from;
        for _ in 0..steps.unsigned_abs() {
            let next: Vec<Node> = if steps > 0 {
                let children = match at {
                    Some(node) => self.revisions[node].children.iter().copied().collect(),
                    None => self.nodes(|revision| revision.parents.is_empty()),
                };
                match branch {
                    Some(branch) => {
                        let branch = self.branch(branch)?;
                        children.into_iter().filter(|node| self.share_a_line(*node, branch)).collect()
                    }
                    None => children,
                }
            } else {
                match at {
                    Some(node) => self.revisions[node].parents.clone(),
                    None => return Ok(None),
                }
            };
            match (next.as_slice(), steps > 0) {
                ([], true) => return Ok(at),
                ([], false) => return Ok(None),
                ([one], _) => at = Some(*one),
                _ => return Err("a step leads to several revisions".to_owned()),
            }
        }
        Ok(at)
    }

    /// Where a range ends, which may be relative to its start.
    fn ends(&self, start: &str, end: &str) -> Result<Vec<Node>, String> {
        let Some(relative) = Relative::parse(end) else { return self.find(end) };
        let from = match (relative.symbol, relative.steps > 0) {
            (None, true) => {
                let starts = self.find(start)?;
                if starts.len() > 1 {
                    return Err(format!("`{start}` names several revisions"));
                }
                starts.first().copied()
            }
            (None, false) => return Err(format!("`{end}` can't be the end of a range")),
            (Some(symbol), true) => self.find_one(symbol)?,
            (Some(symbol), false) => match relative.branch {
                Some(branch) => self.find_one(&format!("{branch}@{symbol}"))?,
                None => self.find_one(symbol)?,
            },
        };
        let branch = relative.branch.filter(|_| relative.steps > 0);
        let reached = self.walk(from, relative.steps, branch)?;
        reached.map(|node| vec![node]).ok_or_else(|| format!("`{end}` is before the first revision"))
    }

    /// Sort newest first. A line is followed down until it meets one that has to be listed first; the lines are those of
    /// the tips, in their order of loading.
    fn newest_first(&self, mut todo: BTreeSet<Node>, tips: &[Node]) -> Vec<Node> {
        let mut tips: Vec<Node> = tips.iter().copied().filter(|tip| todo.contains(tip)).collect();
        tips.sort_unstable();
        tips.dedup();
        let mut before: Vec<BTreeSet<Node>> = tips.iter().map(|tip| self.ancestors([*tip])).collect();
        let mut sorted = Vec::with_capacity(todo.len());
        let mut line = 0;
        while let Some(&tip) = tips.get(line) {
            if let Some(later) = (0..tips.len()).find(|other| *other != line && before[*other].contains(&tip))
            {
                line = later;
                continue;
            }
            if todo.remove(&tip) {
                sorted.push(tip);
            }
            let next: Vec<Node> = self.revisions[tip]
                .before()
                .into_iter()
                .filter(|node| todo.contains(node) && !tips.contains(node))
                .collect();
            if let Some((first, others)) = next.split_first() {
                tips[line] = *first;
                if self.revisions[tip].before().len() == 1 {
                    before[line].remove(&tip);
                } else {
                    before[line] = self.ancestors([*first]);
                }
                for other in others {
                    tips.push(*other);
                    before.push(self.ancestors([*other]));
                }
            } else {
                tips.remove(line);
                before.remove(line);
                line = line.saturating_sub(1);
            }
        }
        sorted
    }
}

impl Revision {
    /// What runs before it, without what its ancestors bring along.
    fn before(&self) -> Vec<Node> {
        let mut before = self.parents.clone();
        before.extend(self.own_dependencies.iter().filter(|node| !self.parents.contains(node)));
        before
    }
}

/// `branch@symbol+2`.
struct Relative<'a> {
    branch: Option<&'a str>,
    symbol: Option<&'a str>,
    steps: i64,
}

impl<'a> Relative<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (branch, rest) = match text.split_once('@') {
            Some((branch, rest)) => (Some(branch), rest),
            None => (None, text),
        };
        let sign = rest.find(['+', '-'])?;
        let (symbol, steps) = rest.split_at(sign);
        let is_word = symbol.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        let steps = steps.parse().ok().filter(|_| is_word)?;
        Some(Self { branch, symbol: Some(symbol).filter(|symbol| !symbol.is_empty()), steps })
    }
}
