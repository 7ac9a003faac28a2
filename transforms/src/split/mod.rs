//! Cuts a rewritten migration into several revisions, each of which is one transaction or one autocommit block.
//!
//! What is in front of an autocommit block is committed by it, and is not stamped. Cut there, it is a revision of its
//! own, whose stamp is committed with it; and a block alone can run a second time. So an interrupted upgrade goes on
//! where it was, whatever the statements are.
//!
//! The last part keeps the migration's id, and the others come before it: whoever follows the migration still does, and
//! a database that is stamped with it has nothing to run again.
//!
//! Source: Alembic's cookbook and `MigrationContext.autocommit_block`: "the block will […] COMMIT the transaction".

mod leaves;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use self::leaves::{Function, Leaf, Role, phase_of};
use self::text::{Identity, Kept, Printer};
use crate::migration::{Direction, Migration, Parsed};
use crate::naming;
use crate::operations::{
    AddConstraint, CreateIndex, DropIndex, Operation, OperationKind, TableArg, TableName,
};
use crate::python::value::Arg;
use crate::recipe::Phase;
use crate::revision;

/// Cut a migration. The parts stand in the order in which they run; there are none when there is nothing to cut.
///
/// # Errors
/// Why it has to stay one revision.
pub(crate) fn cut(migration: &Migration) -> Result<Vec<Migration>, String> {
    let Some(upgrade) = Function::of(migration, Direction::Upgrade)? else { return Ok(Vec::new()) };
    let steps = steps(&upgrade);
    let parts = steps.iter().flatten().max().map_or(0, |last| last + 1);
    if parts < 2 {
        return Ok(Vec::new());
    }
    let up = kept(&upgrade, &steps, parts)?;
    let downgrade = Function::of(migration, Direction::Downgrade)?;
    let down = match &downgrade {
        Some(function) if function.is_trivial() => {
            vec![(0..function.leaves.len()).collect::<BTreeSet<usize>>(); parts]
        }
        Some(function) => kept(function, &backwards(&upgrade, &steps, function, parts)?, parts)?,
        None => vec![BTreeSet::new(); parts],
    };
    let given_up =
        downgrade.as_ref().map(|function| given_up(&upgrade, &steps, function)).unwrap_or_default();
    let is_guarded = upgrade.leaves.iter().any(|leaf| leaf.role == Role::Guard);
    let ids = ids(migration, parts);
    let printer = Printer::new(migration);
    (0..parts)
        .map(|number| {
            let identity = Identity {
                number,
                parts,
                phase: phase(&upgrade, &up[number]),
                revision: &ids[number],
                follows: number.checked_sub(1).map(|before| ids[before].as_str()),
            };
            let mut functions = vec![Kept {
                function: &upgrade,
                leaves: up[number].clone(),
                in_front: Vec::new(),
                is_guarded: false,
            }];
            functions.extend(downgrade.iter().map(|function| Kept {
                function,
                leaves: down[number].clone(),
                in_front: given_up.get(&number).cloned().unwrap_or_default(),
                is_guarded,
            }));
            let source = printer.print(&identity, &functions)?;
            match migration.edited(source) {
                Ok(Parsed::Migration(part)) if part.revision == ids[number] => Ok(*part),
                _ => Err("its parts would be no revisions".to_owned()),
            }
        })
        .collect()
}

/// The phase of a type change that a part is.
fn phase(upgrade: &Function, kept: &BTreeSet<usize>) -> Option<Phase> {
    kept.iter().find_map(|number| match upgrade.leaves[*number].role {
        Role::Block(phase) => phase,
        _ => None,
    })
}

/// The most characters that Alembic's `version_num` column holds.
const LONGEST_ID: usize = 32;

/// The ids of the parts, the last of which is the migration's: `42_1` before `42`, or, where ids are digits that mean
/// nothing, more of these. What has been cut before can be cut again.
fn ids(migration: &Migration, parts: usize) -> Vec<String> {
    let own = &migration.revision;
    let cut_before = match &*migration.down_revisions {
        [parent] => parent.strip_prefix(own.as_str()).and_then(|rest| rest.strip_prefix('_')?.parse().ok()),
        _ => None,
    };
    let first: usize = cut_before.map_or(1, |last: usize| last + 1);
    let means_nothing = own.len() == 12 && own.bytes().all(|byte| byte.is_ascii_hexdigit());
    (first..first + parts - 1)
        .map(|number| match format!("{own}_{number}") {
            id if means_nothing || id.len() > LONGEST_ID => {
                revision::digits(&format!("{:?}\n{id}", migration.down_revisions))
            }
            id => id,
        })
        .chain([own.clone()])
        .collect()
}

/// For each leaf of `upgrade` the part that it belongs to; none for what any part may need.
fn steps(function: &Function) -> Vec<Option<usize>> {
    let mut part = 0;
    let mut last: Option<Role> = None;
    let mut steps = Vec::new();
    for leaf in &function.leaves {
        match leaf.role {
            Role::Definition | Role::Guard => {
                steps.push(None);
                continue;
            }
            Role::Neutral => {}
            role => {
                part += usize::from(last.is_some_and(|last| last != role));
                last = Some(role);
            }
        }
        steps.push(Some(part));
    }
    steps
}

/// For each part, the leaves that it keeps: its own, and the definitions and guards that they need.
///
/// # Errors
/// One part computes what another uses.
fn kept(function: &Function, steps: &[Option<usize>], parts: usize) -> Result<Vec<BTreeSet<usize>>, String> {
    let leaves = &function.leaves;
    for (number, leaf) in leaves.iter().enumerate() {
        let Some(step) = steps[number] else { continue };
        for (later, other) in leaves.iter().enumerate().skip(number + 1) {
            let mut shared = leaf.names.bound.intersection(&other.names.read);
            if let Some(name) = shared.find(|name| !other.names.bound.contains(*name))
                && steps[later] != Some(step)
            {
                return Err(format!("`{name}`, which one part would compute, is used by another"));
            }
        }
    }
    let parts = 0..parts;
    Ok(parts
        .map(|part| {
            let mut kept: BTreeSet<usize> =
                (0..leaves.len()).filter(|number| steps[*number] == Some(part)).collect();
            let Some(last) = kept.last().copied() else { return kept };
            kept.extend((0..last).filter(|number| leaves[*number].role == Role::Guard));
            let mut open: Vec<usize> = kept.iter().copied().collect();
            while let Some(number) = open.pop() {
                for name in &leaves[number].names.read {
                    let bound = (0..number).rev().find(|before| {
                        leaves[*before].role == Role::Definition && leaves[*before].names.bound.contains(name)
                    });
                    open.extend(bound.filter(|definition| kept.insert(*definition)));
                }
            }
            kept
        })
        .collect())
}

/// For each leaf of `downgrade` the part whose steps it undoes.
///
/// # Errors
/// It can't be told, or the order is not that of the parts, backwards.
fn backwards(
    upgrade: &Function,
    steps: &[Option<usize>],
    downgrade: &Function,
    parts: usize,
) -> Result<Vec<Option<usize>>, String> {
    let mut touched: BTreeMap<Thing, BTreeSet<usize>> = BTreeMap::new();
    // The way back from a new type is the whole change again, and starts wherever the way there has got to: so the first
    // part of a change undoes it all, and the others can run again on what they have done.
    let mut change = None;
    for (leaf, step) in upgrade.leaves.iter().zip(steps) {
        let Some(step) = step else { continue };
        change = match leaf.role {
            Role::Block(Some(_)) => change.or(Some(*step)),
            _ => None,
        };
        for thing in leaf.operations.iter().flat_map(|operation| things(operation)) {
            touched.entry(thing).or_default().insert(change.unwrap_or(*step));
        }
    }
    let mut at = parts - 1;
    let mut found: Vec<Option<usize>> = Vec::new();
    for leaf in &downgrade.leaves {
        let candidates = match leaf.role {
            Role::Definition | Role::Guard => {
                found.push(None);
                continue;
            }
            // The end of a change of type.
            Role::Block(Some(Phase::Contract)) => Some(BTreeSet::from([at])),
            _ => candidates(leaf, &touched, at),
        };
        // What undoes nothing by itself goes with what follows.
        let step = match candidates {
            Some(candidates) => match candidates.iter().rev().find(|step| **step <= at) {
                Some(step) => Some(*step),
                None => return Err("its downgrade does not undo its steps one by one".to_owned()),
            },
            None => None,
        };
        at = step.unwrap_or(at);
        found.push(step);
    }
    let mut next = None;
    for (leaf, step) in downgrade.leaves.iter().zip(&mut found).rev() {
        if matches!(leaf.role, Role::Definition | Role::Guard) {
            continue;
        }
        *step = step.or(next);
        next = *step;
    }
    let mut before = Some(parts - 1);
    for (leaf, step) in downgrade.leaves.iter().zip(&mut found) {
        if !matches!(leaf.role, Role::Definition | Role::Guard) {
            *step = step.or(before);
            before = *step;
        }
    }
    Ok(found)
}

/// For each part the steps of `upgrade` that its downgrade has to begin with: those that drop what a change of types has
/// left, where the downgrade does not go through the same steps backwards, and would leave it behind.
fn given_up<'u>(
    upgrade: &'u Function<'u>,
    steps: &[Option<usize>],
    downgrade: &Function,
) -> BTreeMap<usize, Vec<&'u Leaf<'u>>> {
    let mut found: BTreeMap<usize, Vec<&Leaf>> = BTreeMap::new();
    if downgrade.leaves.iter().any(|leaf| leaf.statement.is_raise_stmt()) {
        return found;
    }
    let replaced = |leaf: &Leaf| {
        let columns = leaf.operations.iter().filter_map(|operation| match &operation.kind {
            OperationKind::ReplaceColumn { table, column, .. } => Some((table.known()?, column.clone())),
            _ => None,
        });
        columns.collect::<BTreeSet<_>>()
    };
    let backwards: BTreeSet<_> = downgrade.leaves.iter().flat_map(replaced).collect();
    let (mut change, mut columns) = (None, BTreeSet::new());
    for (leaf, step) in upgrade.leaves.iter().zip(steps) {
        let Some(step) = step else { continue };
        if !matches!(leaf.role, Role::Block(Some(_))) {
            change = None;
            continue;
        }
        let first = *change.get_or_insert(*step);
        match phase_of(leaf.statement) {
            Some(Phase::Expand) => columns = replaced(leaf),
            Some(Phase::Contract) if !columns.is_subset(&backwards) => {
                found.entry(first).or_default().push(leaf);
            }
            _ => {}
        }
    }
    found
}

/// The parts whose steps a statement may undo, behind one that undoes those of part `at`; `None` when it says nothing
/// about that.
fn candidates(leaf: &Leaf, touched: &BTreeMap<Thing, BTreeSet<usize>>, at: usize) -> Option<BTreeSet<usize>> {
    let mut all: Option<BTreeSet<usize>> = None;
    for operation in &leaf.operations {
        let things = things(operation);
        let Some(steps) = things.iter().find_map(|thing| touched.get(thing)) else {
            if is_temporary(operation) || matches!(operation.kind, OperationKind::Harmless { .. }) {
                continue;
            }
            // A type goes when the last that needed it has gone. All else undoes nothing that is known.
            let is_type =
                matches!(operation.kind, OperationKind::DropObject { .. } | OperationKind::EnumType { .. });
            return Some(is_type.then_some(at).into_iter().collect());
        };
        all = Some(match all {
            Some(known) => known.intersection(steps).copied().collect(),
            None => steps.clone(),
        });
    }
    all
}

/// Something of the database that an operation makes, changes or drops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Index(String),
    Constraint(String),
    /// That a column is there.
    Column(TableName, String),
    /// What a column is.
    Altered(TableName, String),
    Table(TableName),
    /// Anything about a table.
    About(TableName),
}

/// What an operation makes, changes or drops, the most exact first.
fn things(operation: &Operation) -> Vec<Thing> {
    let name = |arg: &Arg| arg.value.symbol().map(str::to_owned);
    let mut things = Vec::new();
    let mut table = operation.kind.table().and_then(TableArg::known);
    let of_table =
        |thing: fn(TableName, String) -> Thing, column: Option<String>| Some(thing(table.clone()?, column?));
    match &operation.kind {
        OperationKind::CreateIndex(CreateIndex { name: index, .. })
        | OperationKind::DropIndex(DropIndex { name: index, .. }) => {
            things.extend(name(index).map(Thing::Index));
        }
        OperationKind::AddConstraint(AddConstraint { name: constraint, .. })
        | OperationKind::DropConstraint { name: constraint, .. } => {
            things.extend(name(constraint).map(Thing::Constraint));
        }
        OperationKind::ValidateConstraint { table: known, name }
        | OperationKind::UseIndex { table: known, name, .. } => {
            things.push(Thing::Constraint(name.clone()));
            table = Some(known.clone());
        }
        OperationKind::AddColumn { definition, .. } => {
            let columns = definition.columns.iter().map(|column| Some(column.name.clone()));
            things.extend(columns.filter_map(|column| of_table(Thing::Column, column)));
        }
        OperationKind::DropColumn { column, .. } => things.extend(of_table(Thing::Column, name(column))),
        OperationKind::AlterColumn(alter) => {
            let names = [&alter.column, &alter.new_name];
            things.extend(names.into_iter().filter_map(|column| of_table(Thing::Altered, name(column))));
        }
        OperationKind::ReplaceColumn { table: known, column, .. } => {
            table = known.known();
            things.extend(table.clone().map(|table| Thing::Altered(table, column.clone())));
        }
        OperationKind::CreateTable { definition, .. } => {
            things.extend(table.clone().map(Thing::Table));
            things.extend(definition.indexes.iter().filter_map(|index| index.name.clone()).map(Thing::Index));
        }
        OperationKind::DropTable { .. } => things.extend(table.clone().map(Thing::Table)),
        OperationKind::RenameTable { new_name, .. } => {
            things.extend(table.clone().map(Thing::Table));
            things.extend(name(new_name).map(|name| Thing::Table(TableName { schema: None, name })));
        }
        _ => {}
    }
    things.extend(table.map(Thing::About));
    things
}

/// Whether it only makes or drops what a rewrite needs for a while.
fn is_temporary(operation: &Operation) -> bool {
    things(operation).iter().any(|thing| {
        matches!(thing, Thing::Index(name) | Thing::Constraint(name) if name.starts_with(naming::TEMPORARY))
    })
}
