//! Changes of the types of one table's columns share their steps: one trigger fills all new columns, one walk through
//! the table fills the rows that are there, one switch exchanges all of them.
//!
//! The first call gets the steps of all; of the others only stays what else they do. Between two that share,
//! there may be calls that alter other columns, which are the same in front of the other change as behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::catalog::mentions;
use crate::migration::{Direction, Migration};
use crate::naming;
use crate::operations::{AlterColumn, Operation, OperationKind, TableName};
use crate::recipe::{Action, Recipe, Step, TypeChange, TypeStep};

/// Recipes in the place of those of some findings.
#[derive(Debug, Default)]
pub(super) struct Together {
    /// By the finding's place among the chosen ones.
    recipes: BTreeMap<usize, Recipe>,
}

impl Together {
    /// Find out which of the chosen findings share their steps.
    pub(super) fn new(chosen: &[&Finding], migration: &Migration) -> Self {
        let mut recipes = BTreeMap::new();
        for direction in [Direction::Upgrade, Direction::Downgrade] {
            for group in groups(chosen, &migration.walked(direction).operations) {
                let [first, others @ ..] = &group.members[..] else { continue };
                let Some(mut shared) = recipe(chosen, *first).filter(|_| !others.is_empty()) else {
                    continue;
                };
                for recipe in others.iter().filter_map(|other| recipe(chosen, *other)) {
                    shared = joined(shared, &recipe);
                }
                recipes.insert(*first, shared);
                for other in others {
                    recipes.extend(recipe(chosen, *other).map(|recipe| (*other, without_steps(recipe))));
                }
            }
        }
        Self { recipes }
    }

    /// The recipe in the place of a finding's own.
    pub(super) fn recipe(&self, finding: usize) -> Option<&Recipe> {
        self.recipes.get(&finding)
    }
}

fn recipe(chosen: &[&Finding], finding: usize) -> Option<Recipe> {
    chosen.get(finding)?.fix.clone().ok()
}

/// Findings that share their steps.
struct Group<'a> {
    table: TableName,
    first: &'a Operation,
    members: Vec<usize>,
    columns: BTreeSet<String>,
    /// The columns that calls in between alter.
    altered: BTreeSet<String>,
}

fn groups<'a>(chosen: &[&Finding], operations: &'a [Operation]) -> Vec<Group<'a>> {
    let of_operation: BTreeMap<_, usize> =
        chosen.iter().enumerate().map(|(index, finding)| (finding.operation.origin.key(), index)).collect();
    let mut closed = Vec::new();
    let mut open: Vec<Group> = Vec::new();
    for operation in operations {
        if is_proof(&operation.kind) {
            continue;
        }
        let OperationKind::AlterColumn(alter) = &operation.kind else {
            closed.append(&mut open);
            continue;
        };
        let (Some(table), Some(column), true) =
            (alter.table.known(), alter.column.as_str(), alter.new_name.is_none())
        else {
            closed.append(&mut open);
            continue;
        };
        let member = of_operation.get(&operation.origin.key()).copied();
        let member = member.filter(|finding| changes_type(chosen[*finding]));
        let at = open.iter().position(|group| group.table == table);
        match (member, at) {
            (Some(finding), Some(at)) if open[at].goes_with(operation) && open[at].admits(column, alter) => {
                open[at].members.push(finding);
                open[at].columns.insert(column.to_owned());
            }
            (Some(finding), at) => {
                closed.extend(at.map(|at| open.remove(at)));
                let (members, columns) = (vec![finding], BTreeSet::from([column.to_owned()]));
                open.push(Group { table, first: operation, members, columns, altered: BTreeSet::new() });
            }
            (None, Some(at)) if alter.using.is_some() => closed.push(open.remove(at)),
            (None, Some(at)) => {
                open[at].altered.insert(column.to_owned());
            }
            (None, None) => {}
        }
    }
    closed.append(&mut open);
    closed
}

impl Group<'_> {
    /// Whether an operation runs whenever the first does, and stands beside it.
    fn goes_with(&self, operation: &Operation) -> bool {
        let (first, other) = (&self.first.origin, &operation.origin);
        self.first.autocommit == operation.autocommit
            && self.first.conditional == operation.conditional
            && first.guards == other.guards
            && (first.within == other.within || !(first.repeated || other.repeated))
    }

    /// Whether the change of a column is the same where the first of the group stands: its new value is not computed
    /// from a column that has changed before it.
    fn admits(&self, column: &str, alter: &AlterColumn) -> bool {
        let using = alter.using.iter().flatten().next();
        let uses = |name: &String| using.is_some_and(|using| mentions(using, name));
        !self.columns.contains(column)
            && !self.altered.contains(column)
            && !self.columns.iter().chain(&self.altered).any(uses)
    }
}

/// What an earlier pass wrote around `nullable=False`.
fn is_proof(kind: &OperationKind) -> bool {
    let name = match kind {
        OperationKind::AddConstraint(add) => add.name.as_str(),
        OperationKind::DropConstraint { name, .. } => name.as_str(),
        OperationKind::ValidateConstraint { name, .. } => Some(name.as_str()),
        _ => None,
    };
    name.is_some_and(|name| name.starts_with(naming::TEMPORARY))
}

fn changes_type(finding: &Finding) -> bool {
    let Ok(recipe) = &finding.fix else { return false };
    recipe.steps.iter().any(|step| matches!(step.action, Action::ChangeTypes { .. }))
}

/// A recipe that also does what another one does.
fn joined(mut recipe: Recipe, other: &Recipe) -> Recipe {
    for step in &other.steps {
        let Action::ChangeTypes { columns: more, step: theirs, .. } = &step.action else { continue };
        match theirs {
            TypeStep::CopyIndex { name, columns, .. } => add_copy(&mut recipe, step, name, columns),
            _ => add_columns(&mut recipe, theirs, more),
        }
    }
    recipe
}

/// An index of both is copied once, with the columns of both.
fn add_copy(recipe: &mut Recipe, copy: &Step, index: &str, more: &[String]) {
    for step in &mut recipe.steps {
        if let Action::ChangeTypes { step: TypeStep::CopyIndex { name, columns, .. }, .. } = &mut step.action
            && name == index
        {
            columns.extend_from_slice(more);
            return;
        }
    }
    let constraints = recipe
        .steps
        .iter()
        .position(|step| matches!(step.action, Action::ChangeTypes { step: TypeStep::CopyConstraints, .. }));
    recipe.steps.insert(constraints.unwrap_or(recipe.steps.len()), copy.clone());
}

fn add_columns(recipe: &mut Recipe, theirs: &TypeStep, more: &[TypeChange]) {
    for step in &mut recipe.steps {
        let Action::ChangeTypes { columns, step, .. } = &mut step.action else { continue };
        if std::mem::discriminant(step) != std::mem::discriminant(theirs) {
            continue;
        }
        columns.extend_from_slice(more);
        if let (TypeStep::Start { indexes }, TypeStep::Start { indexes: more }) = (step, theirs) {
            let new: Vec<_> = more.iter().filter(|index| !indexes.contains(index)).cloned().collect();
            indexes.extend(new);
        }
    }
}

/// What else a call does.
fn without_steps(mut recipe: Recipe) -> Recipe {
    recipe.steps.retain(|step| !matches!(step.action, Action::ChangeTypes { .. }));
    recipe
}
