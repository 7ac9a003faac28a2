//! Joins: by a condition, by a relationship, by the one foreign key.

use super::super::models::Relationship;
use super::{Comparison, Condition, Entity, Key, Query, Reader, Value};

impl Reader<'_, '_> {
    /// `keeps_all`: rows stay that are joined with none, so that the condition leaves none out of what is there.
    pub(super) fn join(&mut self, query: &mut Query, values: Vec<Value>, keeps_all: bool) {
        let mut values = values.into_iter().filter(|value| !matches!(value, Value::Few));
        let first = values.next();
        let condition = values.next();
        let unclear = |query: &mut Query, reason: &str| {
            query.unclear.get_or_insert_with(|| reason.to_owned());
        };
        let target = match (first, &condition) {
            (Some(Value::Entity(entity)), Some(Value::Relationship(from, relationship))) => {
                self.join_relationship(query, &from.clone(), &relationship.clone(), Some(entity));
                return;
            }
            (Some(Value::Relationship(from, relationship)), _) => {
                self.join_relationship(query, &from, &relationship, None);
                return;
            }
            (Some(Value::Entity(entity)), _) => entity,
            (Some(Value::Unclear(reason)), _) => return unclear(query, &reason),
            (Some(Value::Query(inner)), _) => {
                self.subquery(Value::Query(inner));
                return unclear(query, "it joins a subquery");
            }
            _ => return unclear(query, "it joins something else than a model"),
        };
        match condition {
            Some(Value::Conditions(mut conditions)) => {
                conditions.retain(|one| {
                    !keeps_all || one.entity == target || matches!(one.comparison, Comparison::Join(..))
                });
                query.conditions.append(&mut conditions);
            }
            Some(Value::Unclear(reason)) => return unclear(query, &reason),
            Some(_) => return unclear(query, "it joins on a condition that is made elsewhere"),
            None => {
                let mut edges = Vec::new();
                for other in &query.entities {
                    edges.extend(self.edges(other, &target));
                }
                let [edge] = &edges[..] else {
                    return unclear(query, "it joins by a foreign key that is not known");
                };
                query.conditions.push(edge.clone());
            }
        }
        query.entities.push(target);
    }

    /// The foreign keys between two tables.
    fn edges(&self, one: &Entity, other: &Entity) -> Vec<Condition> {
        let between = |from: &Entity, to: &Entity| -> Vec<Condition> {
            let columns =
                self.models.tables.get(&from.table).map(|table| table.columns.as_slice()).unwrap_or_default();
            columns
                .iter()
                .filter_map(|column| {
                    let (table, key) = column.foreign.as_ref()?;
                    (*table == to.table).then(|| Condition {
                        entity: from.clone(),
                        key: Key::Column(column.name.clone()),
                        comparison: Comparison::Join(to.clone(), Key::Column(key.clone())),
                    })
                })
                .collect()
        };
        let mut edges = between(one, other);
        if one.table != other.table {
            edges.extend(between(other, one));
        }
        edges
    }

    /// `with_parent(user, User.posts)`: what one row has in a relationship.
    pub(super) fn of_parent(&self, values: &[Value]) -> Value {
        let condition = || {
            let [_, Value::Relationship(from, relationship)] = values else { return None };
            let target = self.models.model_named(relationship.target.as_deref()?, relationship.file)?;
            let target = self.entity(target);
            let edges = self.edges(from, &target);
            let [edge] = &edges[..] else { return None };
            let Comparison::Join(_, other_key) = &edge.comparison else { return None };
            if relationship.special || relationship.secondary.is_some() || *from == target {
                return None;
            }
            let key = if edge.entity == target { &edge.key } else { other_key };
            Some(Condition { key: key.clone(), entity: target, comparison: Comparison::Equal })
        };
        match condition() {
            Some(condition) => Value::Conditions(vec![condition]),
            None => Value::Unclear("`with_parent` of an object".to_owned()),
        }
    }

    fn join_relationship(
        &self,
        query: &mut Query,
        from: &Entity,
        relationship: &Relationship,
        target: Option<Entity>,
    ) {
        let model =
            relationship.target.as_deref().and_then(|name| self.models.model_named(name, relationship.file));
        let target = target.or_else(|| model.map(|model| self.entity(model)));
        let Some(target) = target else {
            query.unclear.get_or_insert_with(|| "a relationship to a class that is not known".to_owned());
            return;
        };
        let between = match &relationship.secondary {
            None => None,
            Some(Some(table)) => Some(Entity { table: table.clone(), model: None, alias: target.alias }),
            Some(None) => {
                query.unclear.get_or_insert_with(|| "it joins over a table that is not known".to_owned());
                return;
            }
        };
        let steps = match &between {
            None => vec![self.edges(from, &target)],
            Some(between) => vec![self.edges(between, from), self.edges(between, &target)],
        };
        for edges in steps {
            match &edges[..] {
                [edge] if !relationship.special => query.conditions.push(edge.clone()),
                // Which rows the other conditions are looked up among is not known then.
                _ => {
                    query
                        .unclear
                        .get_or_insert_with(|| "it joins by a foreign key that is not known".to_owned());
                }
            }
        }
        query.entities.extend(between);
        query.entities.push(target);
    }
}
