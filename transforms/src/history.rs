//! The graph of revisions, as Alembic's `RevisionMap` has it.

use std::collections::BTreeMap;

use petgraph::Direction;
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::migration::Migration;

/// The order of the revisions and what is wrong with their graph.
#[derive(Debug, Default)]
pub struct RevisionMap {
    /// Indices into the migrations, parents before children.
    pub order: Vec<usize>,
    /// Indices of revisions that no other follows.
    pub heads: Vec<usize>,
    /// Indices of revisions that follow no other.
    pub bases: Vec<usize>,
    pub problems: Vec<Problem>,
    /// Indices of revisions that follow one which is not there.
    pub orphans: Vec<usize>,
    /// For each migration, those that it follows or depends on and that are there.
    pub parents: Vec<Vec<usize>>,
}

/// Something that Alembic would refuse or warn about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Index of the migration that it is reported for.
    pub migration: usize,
    pub message: String,
}

impl RevisionMap {
    /// Build the graph. Never fails: what is wrong is in `problems`, and every migration is in
    /// `order`.
    #[must_use]
    pub fn new(migrations: &[Migration]) -> Self {
        let mut problems = Vec::new();
        let mut orphans = Vec::new();
        let mut by_id: BTreeMap<&str, usize> = BTreeMap::new();
        let mut by_label: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, migration) in migrations.iter().enumerate() {
            if let Some(first) = by_id.get(migration.revision.as_str()) {
                problems.push(Problem {
                    migration: index,
                    message: format!(
                        "Revision id `{}` is used by `{}` too",
                        migration.revision, migrations[*first].path
                    ),
                });
            } else {
                by_id.insert(&migration.revision, index);
            }
            for label in &migration.branch_labels {
                by_label.insert(label, index);
            }
        }
        let mut graph: DiGraph<usize, ()> = DiGraph::new();
        let nodes: Vec<NodeIndex> = (0..migrations.len()).map(|index| graph.add_node(index)).collect();
        let mut followed = vec![false; migrations.len()];
        for (index, migration) in migrations.iter().enumerate() {
            for parent in &migration.down_revisions {
                if let Some(parent) = by_id.get(parent.as_str()) {
                    graph.add_edge(nodes[*parent], nodes[index], ());
                    followed[*parent] = true;
                } else {
                    orphans.push(index);
                    problems.push(Problem {
                        migration: index,
                        message: format!(
                            "Revision `{parent}`, which `{}` follows, is not there",
                            migration.revision
                        ),
                    });
                }
            }
            for dependency in &migration.depends_on {
                let label = dependency.split('@').next().unwrap_or(dependency);
                match by_id.get(dependency.as_str()).or_else(|| by_label.get(label)) {
                    Some(parent) if *parent != index => {
                        graph.add_edge(nodes[*parent], nodes[index], ());
                    }
                    Some(_) => {}
                    None => problems.push(Problem {
                        migration: index,
                        message: format!(
                            "Revision `{dependency}`, on which `{}` depends, is not there",
                            migration.revision
                        ),
                    }),
                }
            }
        }
        let order = if let Ok(order) = toposort(&graph, None) {
            order.into_iter().map(|node| graph[node]).collect()
        } else {
            for circle in tarjan_scc(&graph) {
                let is_circle =
                    circle.len() > 1 || circle.iter().any(|node| graph.contains_edge(*node, *node));
                if let (true, Some(first)) = (is_circle, circle.iter().map(|node| graph[*node]).min()) {
                    let mut members: Vec<_> =
                        circle.iter().map(|node| migrations[graph[*node]].revision.as_str()).collect();
                    members.sort_unstable();
                    problems.push(Problem {
                        migration: first,
                        message: format!("Revisions follow each other in a circle: {}", members.join(", ")),
                    });
                }
            }
            // Components come in reverse order, so that everything outside a circle is right.
            tarjan_scc(&graph).into_iter().rev().flatten().map(|node| graph[node]).collect()
        };
        let heads = (0..migrations.len()).filter(|index| !followed[*index]).collect();
        let bases =
            (0..migrations.len()).filter(|index| migrations[*index].down_revisions.is_empty()).collect();
        let parents = nodes
            .iter()
            .map(|node| {
                graph.neighbors_directed(*node, Direction::Incoming).map(|parent| graph[parent]).collect()
            })
            .collect();
        Self { order, heads, bases, problems, orphans, parents }
    }
}
