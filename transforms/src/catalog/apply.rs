//! What operations do to the catalog.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Catalog, Index, NamedConstraint, Table, key, mentions, not_null_columns};
use crate::layout::call::qualified;
use crate::naming::convention;
use crate::naming::convention::Named;
use crate::operations::{
    AlterColumn, Constraint, ConstraintKind, DeclaredIndex, Definition, IndexElement, IndexOptions, Object,
    Operation, OperationKind, TableArg, TableName,
};
use crate::python::value::Value;
use crate::settings::Naming;
use crate::types::{Base, Type};

impl Catalog {
    fn change(&mut self, table: &TableName, change: impl FnOnce(&mut Table)) {
        if let Some(known) = self.tables.get_mut(table) {
            change(Arc::make_mut(known));
        }
    }

    /// Apply some operations.
    pub fn apply_all(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.apply(operation);
        }
    }

    /// Apply one operation. What is conditional is only possible afterwards.
    #[expect(clippy::too_many_lines, reason = "one arm per kind of operation")]
    pub fn apply(&mut self, operation: &Operation) {
        let certain = !operation.conditional;
        // A convention is applied by Alembic; SQL text does not pass it.
        let convention = operation.origin.sql.is_none();
        for table in operation.references() {
            match table {
                Some(table) => drop(self.referenced.insert(table, ())),
                None => self.references_anything = true,
            }
        }
        match &operation.kind {
            OperationKind::CreateTable { table, definition, .. } => {
                self.create_table(table, definition, certain, convention);
            }
            OperationKind::DropTable { table, .. } => self.drop_table(table, certain),
            OperationKind::RenameTable { table, new_name } => {
                self.rename_table(table, new_name.value.symbol());
            }
            OperationKind::AddColumn { table, definition, .. } => match table.known() {
                Some(table) => self.define(&table, definition, certain, convention),
                None => self.anything_is_possible(),
            },
            OperationKind::DropColumn { table, column, .. } => {
                self.drop_column(table, column.as_str(), certain);
            }
            OperationKind::AlterColumn(alter) => {
                let (Some(table), Some(column)) = (alter.table.known(), alter.column.as_str()) else {
                    return;
                };
                self.alter_column(&table, column, alter, certain);
            }
            OperationKind::ReplaceColumn { table, column, type_ } => {
                let Some(table) = table.known() else { return };
                self.change(&table, |known| {
                    for known in known.columns.iter_mut().filter(|known| known.name == *column) {
                        known.type_ = certain.then(|| type_.clone());
                    }
                });
            }
            OperationKind::CreateIndex(create) => {
                let Some(table) = create.table.known() else {
                    self.anything_is_possible();
                    if let Some(name) = create.name.as_str() {
                        self.mentioned.insert(name.to_owned(), ());
                    }
                    return;
                };
                let elements = create.elements.clone().unwrap_or_default();
                let name = match &create.name.value {
                    Value::Str(name) | Value::Partial(name) => Some(name.clone()),
                    Value::None => self.index_name(&table, &elements, create.unique),
                    _ => None,
                };
                let index = Index {
                    table,
                    unique: create.unique,
                    elements,
                    options: create.options.clone(),
                    of_constraint: false,
                    certain,
                };
                let Some(name) = name else { return self.add_unnamed_index(index) };
                if !create.only {
                    self.add_partition_indexes(&index);
                }
                self.add_index(&name, index);
            }
            OperationKind::DropIndex(drop) => {
                let schema = drop.table.schema.as_str().filter(|schema| *schema != "public");
                if let Some(name) = drop.name.value.symbol() {
                    if let (Some(index), true) = (self.index(schema, name).cloned(), certain) {
                        self.drop_partition_indexes(&index);
                    }
                    self.drop_index(schema, name, certain);
                } else {
                    self.anything_is_possible();
                    self.doubt_indexes(drop.table.known().as_ref());
                }
            }
            OperationKind::AddConstraint(add) => {
                let Some(table) = add.table.known() else {
                    self.anything_is_possible();
                    return;
                };
                let columns = match add.kind {
                    ConstraintKind::Check => self.check_columns(&table, add.condition.as_deref()),
                    _ => add.columns.clone(),
                };
                if columns.is_none() && add.name.value == Value::None {
                    self.change(&table, |table| table.complete = false);
                    return;
                }
                let mut constraint = Constraint {
                    name: add.name.value.clone(),
                    kind: add.kind,
                    columns: columns.unwrap_or_default(),
                    condition: add.condition.clone(),
                    options: add.options.clone(),
                    inline: None,
                };
                let referent = add.referent.as_ref().and_then(TableArg::known);
                if convention
                    && !add.name.exact
                    && matches!(add.name.value, Value::None | Value::Str(_))
                    && let Some(convention::Name::Is(name)) =
                        self.by_convention(&table, &constraint, add.name.as_str(), referent.as_ref())
                {
                    constraint.name = Value::Str(name);
                }
                self.add_constraint(&table, &constraint, certain, convention);
                if let (Some(name), Some(condition)) = (constraint.name.symbol(), &add.condition) {
                    self.change(&table, |table| {
                        for known in table.constraints.iter_mut().filter(|known| known.name == name) {
                            known.not_null = not_null_columns(condition);
                            known.valid = !add.not_valid || known.not_null.is_empty();
                        }
                    });
                }
            }
            OperationKind::DropConstraint { table, name, .. } => match (table.known(), &name.value) {
                (Some(table), Value::Str(name)) => self.drop_constraint(&table, name, certain),
                (Some(table), _) => self.doubt_constraints(&table),
                (None, _) => self.anything_is_possible(),
            },
            OperationKind::UseIndex { table, name, index, kind } => {
                let columns = self.index(table.schema.as_deref(), index).map_or_else(Vec::new, |index| {
                    index
                        .elements
                        .iter()
                        .filter_map(|element| match element {
                            IndexElement::Column(column) => Some(column.clone()),
                            IndexElement::Expression(_) => None,
                        })
                        .collect()
                });
                let options = self.index(table.schema.as_deref(), index).map(|index| index.options.clone());
                self.drop_index(table.schema.as_deref(), index, true);
                let constraint = Constraint {
                    name: Value::Str(name.clone()),
                    kind: *kind,
                    columns,
                    condition: None,
                    options: IndexOptions::default(),
                    inline: None,
                };
                self.add_constraint(table, &constraint, certain, false);
                if let Some(index) = self.indexes.get_mut(&key(table.schema.as_deref(), name)) {
                    let unknown = IndexOptions { unclear: true, ..IndexOptions::default() };
                    Arc::make_mut(index).options = options.unwrap_or(unknown);
                }
            }
            OperationKind::RenameIndex { schema, old, new } => {
                if let Some(index) = self.indexes.remove(&key(schema.as_deref(), old)) {
                    self.put_index(key(schema.as_deref(), new), index);
                }
            }
            OperationKind::RenameConstraint { table, old, new } => {
                self.change(table, |table| {
                    for constraint in &mut table.constraints {
                        if constraint.name == *old {
                            constraint.name.clone_from(new);
                        }
                    }
                });
                if let Some(index) = self.indexes.remove(&key(table.schema.as_deref(), old)) {
                    self.put_index(key(table.schema.as_deref(), new), index);
                }
            }
            OperationKind::Opaque { sql: Some(sql), .. } => self.mention(sql),
            OperationKind::Opaque { sql: None, .. } => {
                self.anything_is_possible();
                self.doubt_elsewhere(|_, _| true);
            }
            OperationKind::ValidateConstraint { table, name } => self.change(table, |table| {
                for known in table.constraints.iter_mut().filter(|known| known.name == *name) {
                    known.valid = true;
                }
            }),
            OperationKind::AttachPartition { table, partition } => {
                if let (Some(parent), Some(partition)) = (table.known(), partition.known()) {
                    self.change(&partition, |table| table.partition_of = Some(parent));
                }
            }
            OperationKind::DetachPartition { partition, .. } => {
                if let Some(partition) = partition.known() {
                    self.change(&partition, |table| table.partition_of = None);
                }
            }
            OperationKind::CreateDomain { domain, constrained } => {
                if *constrained {
                    self.constrained_domains.insert(domain.clone(), ());
                }
            }
            OperationKind::CreateObject { object: Object::Type, name: Some(name), .. } => {
                self.types.insert(qualified(name.schema.as_deref(), &name.name), ());
            }
            OperationKind::EnumType { type_, .. } => self.note_enum(type_),
            OperationKind::RenameObject { type_: Some((name, new_name)) } => self.rename_type(name, new_name),
            OperationKind::AddEnumValue { .. }
            | OperationKind::Reindex { .. }
            | OperationKind::CreateObject { .. }
            | OperationKind::DropObject { .. }
            | OperationKind::RenameObject { .. }
            | OperationKind::Truncate { .. }
            | OperationKind::Harmless { .. }
            | OperationKind::SyncEnum { .. }
            | OperationKind::Update(_)
            | OperationKind::Commit => {}
        }
    }

    fn note_enum(&mut self, type_: &str) {
        if let Base::Enum(name) = Type::read(type_).base {
            self.types.insert(name, ());
        }
    }

    /// `ALTER TYPE … RENAME TO`: the columns of the type go with it.
    fn rename_type(&mut self, name: &TableName, new_name: &str) {
        let old = qualified(name.schema.as_deref(), &name.name);
        let new = qualified(name.schema.as_deref(), new_name);
        if self.types.remove(&old).is_some() {
            self.types.insert(new.clone(), ());
        }
        let has = |type_: &Type| matches!(&type_.base, Base::Enum(name) | Base::Other(name) if *name == old);
        let tables: Vec<_> = self.tables.keys().cloned().collect();
        for table in tables {
            self.change(&table, |known| {
                for column in &mut known.columns {
                    if let Some(type_) = column.type_.as_deref().map(Type::read)
                        && has(&type_)
                    {
                        let renamed = Type { base: Base::Other(new.clone()), ..type_ };
                        column.type_ = Some(renamed.to_string());
                    }
                }
            });
        }
    }

    /// SQL that was not understood: everything that it names is uncertain.
    fn mention(&mut self, sql: &str) {
        let words: BTreeSet<&str> = sql
            .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
            .filter(|word| !word.is_empty())
            .collect();
        self.doubt_elsewhere(|_, name| words.contains(name));
        let tables: Vec<_> =
            self.tables.keys().filter(|table| words.contains(table.name.as_str())).cloned().collect();
        for table in tables {
            self.change(&table, |table| table.complete = false);
        }
        for word in words {
            self.indexes_gone.clear();
            self.mentioned.insert(word.to_owned(), ());
        }
    }

    fn create_table(&mut self, table: &TableArg, definition: &Definition, certain: bool, convention: bool) {
        let Some(name) = table.known() else {
            self.anything_is_possible();
            return;
        };
        if !certain && self.tables.contains_key(&name) {
            return;
        }
        let table = Table {
            columns: Vec::new(),
            constraints: Vec::new(),
            complete: !definition.incomplete,
            partitioned: definition.partitioned,
            unnamed_indexes: Vec::new(),
            partition_of: definition.partition_of.clone(),
            key: Vec::new(),
        };
        self.tables.insert(name.clone(), Arc::new(table));
        // Its own parts are there whenever it is.
        self.define(&name, definition, true, convention);
    }

    fn define(&mut self, table: &TableName, definition: &Definition, certain: bool, convention: bool) {
        // SQLAlchemy creates the enums of a table with it.
        for type_ in definition.columns.iter().filter_map(|column| column.type_.as_deref()) {
            if type_.contains("num(") || type_.contains("NUM(") {
                self.note_enum(type_);
            }
        }
        self.change(table, |known| {
            known.complete &= !definition.incomplete;
            for column in &definition.columns {
                known.columns.retain(|known| known.name != column.name);
                known.columns.push(column.clone());
            }
        });
        for constraint in &definition.constraints {
            if constraint.kind != ConstraintKind::Check || !constraint.columns.is_empty() {
                self.add_constraint(table, constraint, certain, convention);
            } else if let Some(columns) = self.check_columns(table, constraint.condition.as_deref()) {
                self.add_constraint(
                    table,
                    &Constraint { columns, ..constraint.clone() },
                    certain,
                    convention,
                );
            } else if constraint.name == Value::None {
                // It is named after a column that is not known.
                self.change(table, |table| table.complete = false);
            } else {
                self.add_constraint(table, constraint, certain, convention);
            }
        }
        for index in &definition.indexes {
            let name = index.name.clone().or_else(|| self.index_name(table, &index.elements, index.unique));
            let DeclaredIndex { unique, elements, options, .. } = index.clone();
            let table = table.clone();
            let index = Index { table, unique, elements, options, of_constraint: false, certain };
            match name {
                Some(name) => self.add_index(&name, index),
                None => self.add_unnamed_index(index),
            }
        }
    }

    fn drop_table(&mut self, table: &TableArg, certain: bool) {
        let Some(table) = table.known() else {
            self.anything_is_possible();
            return;
        };
        self.doubt_elsewhere(|known, _| known == &table);
        if !certain {
            self.mentioned.insert(table.name.clone(), ());
            return;
        }
        self.tables.remove(&table);
        self.lose_indexes(|index| index.table == table);
    }

    fn rename_table(&mut self, table: &TableArg, new_name: Option<&str>) {
        let (Some(old), Some(new_name)) = (table.known(), new_name) else {
            self.anything_is_possible();
            return;
        };
        self.doubt_elsewhere(|known, _| known == &old);
        let new = TableName { schema: old.schema.clone(), name: new_name.to_owned() };
        if let Some(table) = self.tables.remove(&old) {
            self.tables.insert(new.clone(), table);
        }
        if self.referenced.contains_key(&old) {
            self.referenced.insert(new.clone(), ());
        }
        let moved: Vec<_> =
            self.indexes.iter().filter(|(_, index)| index.table == old).map(|(key, _)| key.clone()).collect();
        for key in moved {
            if let Some(index) = self.indexes.get_mut(&key) {
                Arc::make_mut(index).table = new.clone();
            }
        }
    }

    fn drop_column(&mut self, table: &TableArg, column: Option<&str>, certain: bool) {
        let (Some(table), Some(column)) = (table.known(), column) else {
            if let Some(table) = table.known() {
                self.change(&table, |table| table.complete = false);
            }
            return;
        };
        self.doubt_elsewhere(|known, _| known == &table);
        self.change(&table, |known| {
            if known.key.iter().any(|name| name == column) {
                known.key.clear();
            }
            if certain {
                known.columns.retain(|known| known.name != column);
                // PostgreSQL drops the indexes and the constraints that involve it.
                known.unnamed_indexes.retain(|index| !index.has_column(column));
                known.constraints.retain(|constraint| !constraint.columns.iter().any(|name| name == column));
                for constraint in &mut known.constraints {
                    // What its columns are is not known.
                    constraint.certain &= !constraint.columns.is_empty();
                }
            } else {
                known.complete = false;
            }
        });
        let uses = |index: &Index| index.table == table && index.has_column(column);
        if certain {
            self.lose_indexes(uses);
        }
        // An expression index may have used it.
        let doubtful: Vec<_> = self
            .indexes
            .iter()
            .filter(|(_, index)| {
                index.table == table
                    && (index.elements.is_empty()
                        || index
                            .elements
                            .iter()
                            .any(|element| matches!(element, IndexElement::Expression(_)))
                        || !certain && uses(index))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in doubtful {
            if let Some(index) = self.indexes.get_mut(&key) {
                Arc::make_mut(index).certain = false;
            }
        }
    }

    fn alter_column(&mut self, table: &TableName, column: &str, alter: &AlterColumn, certain: bool) {
        let new_name = alter.new_name.as_str();
        self.change(table, |table| {
            for known in table.columns.iter_mut().filter(|known| known.name == column) {
                if let Some(nullable) = alter.nullable {
                    known.nullable = nullable;
                }
                if let Some(type_) = &alter.type_ {
                    known.type_ = certain.then(|| type_.clone());
                }
                if let Some(new_name) = new_name {
                    new_name.clone_into(&mut known.name);
                }
            }
            if let Some(new_name) = new_name {
                for name in table.key.iter_mut().filter(|name| *name == column) {
                    new_name.clone_into(name);
                }
                for constraint in &mut table.constraints {
                    // PostgreSQL writes it anew.
                    constraint.condition.take_if(|condition| mentions(condition, column));
                }
                let columns = table.constraints.iter_mut().flat_map(|constraint| &mut constraint.columns);
                for name in columns.filter(|name| *name == column) {
                    new_name.clone_into(name);
                }
                for index in &mut table.unnamed_indexes {
                    index.rename_column(column, new_name);
                }
            }
        });
        let Some(new_name) = new_name else { return };
        let renamed: Vec<_> = self
            .indexes
            .iter()
            .filter(|(_, index)| index.table == *table)
            .map(|(key, _)| key.clone())
            .collect();
        for key in renamed {
            if let Some(index) = self.indexes.get_mut(&key) {
                Arc::make_mut(index).rename_column(column, new_name);
            }
        }
    }

    fn add_index(&mut self, name: &str, index: Index) {
        self.put_index(key(index.table.schema.as_deref(), name), Arc::new(index));
    }

    fn put_index(&mut self, key: (Option<String>, String), index: Arc<Index>) {
        self.indexes_gone.remove(&key);
        self.indexes.insert(key, index);
    }

    fn add_unnamed_index(&mut self, index: Index) {
        let table = index.table.clone();
        self.change(&table, |table| {
            table.complete = false;
            table.unnamed_indexes.push(index);
        });
    }

    /// An index of a partitioned table brings one of each of its partitions along.
    fn add_partition_indexes(&mut self, parent: &Index) {
        let partitions: Vec<TableName> =
            self.partitions(&parent.table).map(|(name, _)| name.clone()).collect();
        for partition in partitions {
            let columns = parent.elements.iter().map(|element| match element {
                IndexElement::Column(column) => Some(column.clone()),
                IndexElement::Expression(_) => None,
            });
            let name = columns
                .collect::<Option<Vec<_>>>()
                .and_then(|columns| self.partition_index_name(&partition, &columns));
            match name {
                Some(name) => self.add_index(&name, Index { table: partition, ..parent.clone() }),
                None => self.change(&partition, |table| table.complete = false),
            }
        }
    }

    fn drop_partition_indexes(&mut self, parent: &Index) {
        let partitions: BTreeSet<TableName> =
            self.partitions(&parent.table).map(|(name, _)| name.clone()).collect();
        self.remove_indexes(|index| {
            partitions.contains(&index.table)
                && index.unique == parent.unique
                && index.elements == parent.elements
        });
    }

    /// Indexes go with what they belong to, so that dropping them by name fails.
    fn lose_indexes(&mut self, gone: impl Fn(&Index) -> bool) {
        let lost = self.indexes.iter().filter(|(_, index)| index.certain && gone(index));
        let lost: Vec<_> = lost.map(|(key, _)| key.clone()).collect();
        self.indexes_gone.extend(lost);
        self.remove_indexes(gone);
    }

    fn remove_indexes(&mut self, gone: impl Fn(&Index) -> bool) {
        self.indexes = self
            .indexes
            .iter()
            .filter(|(_, index)| !gone(index))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
    }

    fn drop_index(&mut self, schema: Option<&str>, name: &str, certain: bool) {
        let key = key(schema, name);
        if certain {
            self.indexes.remove(&key);
        } else if let Some(index) = self.indexes.get_mut(&key) {
            Arc::make_mut(index).certain = false;
        }
    }

    /// Any one of a table's indexes may be gone, or of all tables'.
    fn doubt_indexes(&mut self, table: Option<&TableName>) {
        let may_be_gone =
            |index: &Index| !index.of_constraint && table.is_none_or(|table| index.table == *table);
        let keys: Vec<_> =
            self.indexes.iter().filter(|(_, index)| may_be_gone(index)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(index) = self.indexes.get_mut(&key) {
                Arc::make_mut(index).certain = false;
            }
        }
    }

    fn add_constraint(
        &mut self,
        table: &TableName,
        constraint: &Constraint,
        certain: bool,
        convention: bool,
    ) {
        if constraint.kind == ConstraintKind::PrimaryKey && certain {
            self.change(table, |table| table.key.clone_from(&constraint.columns));
        }
        let inline = constraint.inline.as_ref().and_then(|inline| inline.as_ref().ok());
        let referent = inline.and_then(|inline| inline.referent.as_ref());
        let referent = referent.map(|(table, _)| TableName::new(table.schema.as_deref(), &table.name));
        let by_convention =
            self.by_convention(table, constraint, None, referent.as_ref()).filter(|_| convention);
        let name = match (&constraint.name, by_convention) {
            _ if self.naming.renames(constraint.kind) => None,
            (Value::Str(name) | Value::Partial(name), _) => Some(name.clone()),
            (Value::None, Some(convention::Name::Is(name))) => Some(name),
            (Value::None, by_convention)
                if !convention
                    || self.naming == Naming::Postgres
                    || by_convention == Some(convention::Name::AsGiven) =>
            {
                self.automatic_name(table, constraint.kind, &constraint.columns)
            }
            _ => None,
        };
        let has_index = matches!(
            constraint.kind,
            ConstraintKind::PrimaryKey | ConstraintKind::Unique | ConstraintKind::Exclude
        );
        let index = has_index.then(|| {
            let elements = constraint.columns.iter().cloned().map(IndexElement::Column).collect();
            let method = (constraint.kind == ConstraintKind::Exclude).then(|| "gist".to_owned());
            Index {
                table: table.clone(),
                unique: true,
                elements,
                options: IndexOptions { method, ..constraint.options.clone() },
                of_constraint: true,
                certain,
            }
        });
        let Some(name) = name else {
            return match index {
                Some(index) => self.add_unnamed_index(index),
                None => self.change(table, |table| table.complete = false),
            };
        };
        if let Some(index) = index {
            self.add_index(&name, index);
        }
        if !self.tables.contains_key(table) {
            if certain {
                self.constraints_elsewhere.insert((table.clone(), name));
            }
            return;
        }
        let named = NamedConstraint {
            name,
            kind: constraint.kind,
            columns: constraint.columns.clone(),
            certain,
            automatic: constraint.name == Value::None && constraint.kind != ConstraintKind::PrimaryKey,
            not_null: Vec::new(),
            valid: true,
            condition: constraint.condition.clone(),
        };
        self.change(table, |table| {
            table.constraints.retain(|known| known.name != named.name);
            table.constraints.push(named);
        });
    }

    /// The name that the naming convention gives to a constraint, with the name that its author gave.
    pub(super) fn by_convention(
        &self,
        table: &TableName,
        constraint: &Constraint,
        given: Option<&str>,
        referent: Option<&TableName>,
    ) -> Option<convention::Name> {
        let columns = (!constraint.columns.is_empty()).then_some(&constraint.columns[..]);
        let named = Named { kind: constraint.kind, given, table, columns, referent, unique: None };
        Some(self.naming.convention()?.name(named))
    }

    /// Constraints of tables that no migration creates may be gone.
    fn doubt_elsewhere(&mut self, may_be_gone: impl Fn(&TableName, &str) -> bool) {
        if self.constraints_elsewhere.iter().any(|(table, name)| may_be_gone(table, name)) {
            let rest = self.constraints_elsewhere.iter().filter(|(table, name)| !may_be_gone(table, name));
            self.constraints_elsewhere = rest.cloned().collect();
        }
    }

    /// Any one of them may be gone.
    fn doubt_constraints(&mut self, table: &TableName) {
        self.doubt_elsewhere(|known, _| known == table);
        self.change(table, |table| {
            table.complete = false;
            table.key.clear();
            for constraint in &mut table.constraints {
                constraint.certain = false;
            }
        });
    }

    fn drop_constraint(&mut self, table: &TableName, name: &str, certain: bool) {
        let name = &*self.called(table, name);
        self.change(table, |table| {
            let dropped = table.constraints.iter().find(|constraint| constraint.name == name);
            if dropped.is_none_or(|dropped| dropped.kind == ConstraintKind::PrimaryKey) {
                table.key.clear();
            }
            if certain {
                table.constraints.retain(|constraint| constraint.name != name);
            } else {
                for constraint in table.constraints.iter_mut().filter(|constraint| constraint.name == name) {
                    constraint.certain = false;
                }
            }
        });
        // The table's name may be known in part, so that it is any one.
        self.doubt_elsewhere(|_, known| known == name);
        if !self.tables.contains_key(table) {
            let has = |table: &Table| table.constraints.iter().any(|constraint| constraint.name == name);
            let others: Vec<_> =
                self.tables().filter(|(_, table)| has(table)).map(|(name, _)| name.clone()).collect();
            for other in others {
                self.drop_constraint(&other, name, false);
            }
        }
        let of_constraint =
            self.index(table.schema.as_deref(), name).is_some_and(|index| index.of_constraint);
        if of_constraint {
            self.drop_index(table.schema.as_deref(), name, certain);
        }
    }
}

/// Whether a name is one that PostgreSQL chooses: the table, some of its columns, and a label.
pub(super) fn is_automatic(table_name: &str, table: &Table, name: &str) -> bool {
    fn columns(rest: &str, table: &Table) -> bool {
        table.columns.iter().any(|column| match rest.strip_prefix(&column.name) {
            Some("") => true,
            Some(rest) => rest.strip_prefix('_').is_some_and(|rest| columns(rest, table)),
            None => false,
        })
    }
    let label = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let Some(middle) = ["_key", "_fkey", "_check"].iter().find_map(|suffix| label.strip_suffix(suffix))
    else {
        return false;
    };
    match middle.strip_prefix(table_name) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('_').is_some_and(|rest| columns(rest, table)),
        // The table had another name then.
        None => table.columns.iter().any(|column| middle.ends_with(&format!("_{}", column.name))),
    }
}
