//! The custom search attributes of a namespace, and what they are called (spec 06 §6, spec 08 §1.4).
//!
//! An attribute is kept in histories, in the state of runs and in the index by its *field*, which never changes: the name
//! that it was first given. What clients say and see is its *name*, which may change. So a new name costs no rewriting:
//! old runs are found by it at once, and an index made anew is the same.
//!
//! | a client says | it means |
//! |---|---|
//! | the name of an attribute | that attribute |
//! | a former name, and no attribute has it now | the attribute that had it last: code and saved queries go on working |
//! | anything else | a field of that name, which what runs carry of removed attributes still has; else nothing |

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};

use sempre_api::v1::common::Payload;

use super::{AttributeType, is_reserved};
use crate::Refusal;

/// Former names that a namespace remembers.
pub const FORMER_NAMES_MAX: usize = 1000;

/// See the module. Types are those of the API (`IndexedValueType`).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Registry {
    /// Fields of the attributes there are, with their types.
    pub live: BTreeMap<String, i32>,
    /// Fields of removed ones: one that comes back under its name has its values back.
    pub removed: BTreeMap<String, i32>,
    /// Names by field, where they differ.
    pub names: BTreeMap<String, String>,
    /// Fields by the names that they had.
    pub former: BTreeMap<String, String>,
}

/// "There is none of this name."
fn not_there(name: &str) -> Refusal {
    Refusal::not_found(format!("Search attribute {name} doesn't exist."))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    match name {
        "" => Err(Refusal::invalid("Search attribute name is not set.")),
        name if is_reserved(name) => Err(Refusal::invalid(format!("Search attribute {name} is reserved by system."))),
        _ => Ok(()),
    }
}

impl Registry {
    /// True while every attribute is called like its field: there is nothing to translate.
    pub fn is_plain(&self) -> bool {
        self.names.is_empty() && self.former.is_empty()
    }

    /// What clients see for a field.
    pub fn name<'a>(&'a self, field: &'a str) -> &'a str {
        self.names.get(field).map_or(field, String::as_str)
    }

    /// The field of the attribute that is called so now.
    fn called<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.live.contains_key(name) && !self.names.contains_key(name) {
            return Some(name);
        }
        let named = self.names.iter().find(|(field, other)| *other == name && self.live.contains_key(*field));
        named.map(|(field, _)| field.as_str())
    }

    /// The field that a client means.
    pub fn field<'a>(&'a self, name: &'a str) -> &'a str {
        self.called(name).or_else(|| self.former.get(name).map(String::as_str)).unwrap_or(name)
    }

    /// The type of the attribute that a client means; `None` if there is none.
    pub fn kind(&self, name: &str) -> Option<AttributeType> {
        self.live.get(self.field(name)).copied().and_then(AttributeType::from_api)
    }

    /// Attributes by name, as clients see them.
    pub fn named(&self) -> BTreeMap<String, i32> {
        self.live.iter().map(|(field, kind)| (self.name(field).to_string(), *kind)).collect()
    }

    /// Adds an attribute; one that has the name already stays as it is, whatever its type.
    pub fn add(&mut self, name: &str, kind: i32) -> Result<(), Refusal> {
        check_name(name)?;
        if self.called(name).is_some() {
            return Ok(());
        }
        let again = self.removed.keys().find(|field| self.name(field) == name).cloned();
        let field = again.unwrap_or_else(|| self.free_field(name));
        self.removed.remove(&field);
        self.live.insert(field.clone(), kind);
        self.call(field, name);
        Ok(())
    }

    /// A field that no attribute has or had.
    fn free_field(&self, name: &str) -> String {
        let taken = |field: &String| self.live.contains_key(field) || self.removed.contains_key(field);
        let mut number = 1_u64;
        let mut field = name.to_string();
        while taken(&field) {
            number += 1;
            field = format!("{name}~{number}");
        }
        field
    }

    /// Gives a field its name.
    fn call(&mut self, field: String, name: &str) {
        self.former.remove(name);
        if field == name {
            self.names.remove(&field);
        } else {
            self.names.insert(field, name.to_string());
        }
    }

    /// Removes an attribute. What runs have of it stays in them.
    pub fn remove(&mut self, name: &str) -> Result<(), Refusal> {
        let field = self.called(name).ok_or_else(|| not_there(name))?.to_string();
        if let Some(kind) = self.live.remove(&field) {
            self.removed.insert(field.clone(), kind);
        }
        if field != name {
            self.former.insert(name.to_string(), field);
        }
        Ok(())
    }

    /// Calls an attribute by another name from now on.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Refusal> {
        let field = self.called(from).ok_or_else(|| not_there(from))?.to_string();
        if from == to {
            return Ok(());
        }
        check_name(to)?;
        if self.called(to).is_some() {
            return Err(Refusal::invalid(format!("Search attribute {to} already exists.")));
        }
        self.remember(from, &field)?;
        self.call(field, to);
        Ok(())
    }

    fn remember(&mut self, name: &str, field: &str) -> Result<(), Refusal> {
        if self.former.len() >= FORMER_NAMES_MAX && !self.former.contains_key(name) {
            let text = format!("Search attributes of a namespace cannot have more than {FORMER_NAMES_MAX} former names.");
            return Err(Refusal::invalid(text));
        }
        self.former.insert(name.to_string(), field.to_string());
        Ok(())
    }

    /// `custom_search_attribute_aliases` of UpdateNamespace: an empty name removes, a name gives a field that has none its
    /// name (again). So it takes two calls to rename.
    pub fn alias(&mut self, field: &str, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            let Some(had) = self.live.contains_key(field).then(|| self.name(field).to_string()) else { return Ok(()) };
            return self.remove(&had);
        }
        if self.called(name).is_some() {
            return Ok(());
        }
        if self.live.contains_key(field) {
            return Err(Refusal::invalid("Custom search attribute field name already allocated."));
        }
        check_name(name)?;
        let Some(kind) = self.removed.get(field).copied() else {
            return Err(Refusal::invalid(format!("Search attribute {field} doesn't exist.")));
        };
        let had = self.name(field).to_string();
        if had != name {
            self.remember(&had, field)?;
        }
        self.removed.remove(field);
        self.live.insert(field.to_string(), kind);
        self.call(field.to_string(), name);
        Ok(())
    }

    /// What a client says, by field. Of two names of one field the one it has now counts.
    pub fn to_fields(&self, said: &mut BTreeMap<String, Payload>) {
        if self.is_plain() || said.is_empty() {
            return;
        }
        let (now, before): (BTreeMap<_, _>, BTreeMap<_, _>) =
            core::mem::take(said).into_iter().partition(|(name, _)| self.called(name).is_some());
        said.extend(before.into_iter().map(|(name, payload)| (self.field(&name).to_string(), payload)));
        said.extend(now.into_iter().map(|(name, payload)| (self.field(&name).to_string(), payload)));
    }

    /// What a client sees, by name. An attribute there is hides what is left of a removed one of the same name.
    pub fn to_names(&self, fields: &mut BTreeMap<String, Payload>) {
        if self.is_plain() || fields.is_empty() {
            return;
        }
        let (live, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
            core::mem::take(fields).into_iter().partition(|(field, _)| self.live.contains_key(field));
        fields.extend(left.into_iter().map(|(field, payload)| (self.name(&field).to_string(), payload)));
        fields.extend(live.into_iter().map(|(field, payload)| (self.name(&field).to_string(), payload)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const KEYWORD: i32 = 2;
    const INT: i32 = 3;

    fn with(names: &[&str]) -> Registry {
        let mut registry = Registry::default();
        for name in names {
            registry.add(name, KEYWORD).unwrap();
        }
        registry
    }

    fn fields(names: &[&str]) -> BTreeMap<String, Payload> {
        names.iter().map(|name| (name.to_string(), Payload { data: name.as_bytes().to_vec().into(), ..Default::default() })).collect()
    }

    /// Names, each with what was said under it.
    fn said(fields: &BTreeMap<String, Payload>) -> Vec<(&str, &str)> {
        fields.iter().map(|(name, payload)| (name.as_str(), core::str::from_utf8(&payload.data).unwrap())).collect()
    }

    #[test]
    fn a_new_name_means_the_old_field_and_so_does_the_old_one() {
        let mut registry = with(&["Color"]);
        assert!(registry.is_plain());
        registry.rename("Color", "Colour").unwrap();
        registry.rename("Colour", "Hue").unwrap();
        for name in ["Color", "Colour", "Hue"] {
            assert_eq!(registry.field(name), "Color", "{name}");
            assert_eq!(registry.kind(name), Some(AttributeType::Keyword), "{name}");
        }
        assert_eq!(registry.name("Color"), "Hue");
        assert_eq!(registry.named(), [("Hue".to_string(), KEYWORD)].into());
        registry.rename("Hue", "Color").unwrap();
        assert_eq!((registry.name("Color"), registry.field("Hue")), ("Color", "Color"), "and back");
        assert!(registry.names.is_empty());
    }

    #[test]
    fn a_name_that_is_free_again_can_be_another_attribute_s() {
        let mut registry = with(&["A"]);
        registry.rename("A", "B").unwrap();
        registry.add("A", INT).unwrap();
        assert_eq!((registry.field("A"), registry.field("B")), ("A~2", "A"));
        assert_eq!((registry.kind("A"), registry.kind("B")), (Some(AttributeType::Int), Some(AttributeType::Keyword)));
        let mut given = fields(&["A", "B", "C"]);
        registry.to_fields(&mut given);
        assert_eq!(said(&given), [("A", "B"), ("A~2", "A"), ("C", "C")]);
        registry.to_names(&mut given);
        assert_eq!(said(&given), [("A", "A"), ("B", "B"), ("C", "C")], "the way back");
    }

    #[test]
    fn the_name_of_today_counts_before_a_former_one() {
        let mut registry = with(&["A"]);
        registry.rename("A", "Z").unwrap();
        let mut given = fields(&["A", "Z"]);
        registry.to_fields(&mut given);
        assert_eq!(said(&given), [("A", "Z")]);
    }

    #[test]
    fn what_cannot_be_renamed() {
        let mut registry = with(&["A", "B"]);
        assert_eq!(registry.rename("C", "D"), Err(Refusal::not_found("Search attribute C doesn't exist.")));
        assert_eq!(registry.rename("A", "B"), Err(Refusal::invalid("Search attribute B already exists.")));
        assert_eq!(registry.rename("A", "RunId"), Err(Refusal::invalid("Search attribute RunId is reserved by system.")));
        assert_eq!(registry.rename("A", ""), Err(Refusal::invalid("Search attribute name is not set.")));
        assert_eq!(registry, with(&["A", "B"]));
        assert_eq!(registry.rename("A", "A"), Ok(()));
        assert!(registry.is_plain());
        for n in 0..FORMER_NAMES_MAX {
            registry.rename(registry.name("A").to_string().as_str(), &format!("A{n}")).unwrap();
        }
        assert!(registry.rename(&format!("A{}", FORMER_NAMES_MAX - 1), "More").is_err());
    }

    #[test]
    fn a_removed_one_keeps_its_name_for_what_runs_carry_and_comes_back_by_it() {
        let mut registry = with(&["A"]);
        registry.rename("A", "B").unwrap();
        registry.remove("B").unwrap();
        assert_eq!(registry.remove("B"), Err(Refusal::not_found("Search attribute B doesn't exist.")));
        assert_eq!((registry.kind("B"), registry.field("B"), registry.name("A")), (None, "A", "B"));
        registry.add("A", INT).unwrap();
        assert_eq!(registry.field("A"), "A~2", "not the removed one");
        registry.add("B", INT).unwrap();
        assert_eq!((registry.field("B"), registry.kind("B")), ("A", Some(AttributeType::Int)));
        assert!(registry.removed.is_empty());
    }

    #[test]
    fn one_that_is_there_hides_what_is_left_of_a_removed_one() {
        let mut registry = with(&["A", "B"]);
        registry.remove("B").unwrap();
        registry.rename("A", "B").unwrap();
        let mut stored = fields(&["A", "B"]);
        registry.to_names(&mut stored);
        assert_eq!(said(&stored), [("B", "A")]);
    }

    #[test]
    fn aliases_remove_and_add_and_never_replace() {
        let mut registry = with(&["A"]);
        assert_eq!(registry.alias("A", "B"), Err(Refusal::invalid("Custom search attribute field name already allocated.")));
        assert_eq!(registry.alias("A", "A"), Ok(()));
        assert_eq!(registry.alias("C", ""), Ok(()), "what is not there need not be removed");
        assert_eq!(registry.alias("C", "D"), Err(Refusal::invalid("Search attribute C doesn't exist.")));
        registry.alias("A", "").unwrap();
        assert!(registry.named().is_empty());
        registry.alias("A", "B").unwrap();
        assert_eq!(registry.named(), [("B".to_string(), KEYWORD)].into());
        assert_eq!(registry.field("A"), "A", "the former name");
    }
}
