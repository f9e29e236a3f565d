//! Types as far as they are written down: annotations, fields, signatures, constructors. What is not is unknown, never guessed.

use std::collections::BTreeSet;

use syn::{Expr, GenericArgument, PathArguments, ReturnType, Type, TypeParamBound};

use crate::{
    index::{Func, Index, TypeId, TypeKey, segments},
    names::{ModuleId, Target},
    rules,
    walk::Scope,
};

/// A type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ty {
    Local(TypeId, Vec<Ty>),
    Foreign(String, Vec<Ty>),
    /// A type parameter.
    Param,
    Tuple(Vec<Ty>),
    #[default]
    Unknown,
}

/// Methods that give what they are called on, or what is in it.
const THROUGH: &[&str] = &[
    "clone",
    "to_owned",
    "as_ref",
    "as_mut",
    "borrow",
    "borrow_mut",
    "lock",
    "read",
    "write",
    "unwrap",
    "expect",
    "unwrap_or_default",
    "unwrap_or",
    "unwrap_or_else",
    "as_deref",
    "as_deref_mut",
    "by_ref",
    "take",
    "cloned",
    "copied",
];
/// What a value of these is used for is what is in it.
const WRAPPERS: &[&str] = &[
    "Box",
    "Arc",
    "Rc",
    "Cow",
    "Pin",
    "Ref",
    "RefMut",
    "MutexGuard",
    "RwLockReadGuard",
    "RwLockWriteGuard",
    "Mutex",
    "RwLock",
    "RefCell",
    "LazyLock",
    "Lazy",
];

impl Ty {
    /// Without what is seen through when a method is called.
    pub(crate) fn peeled(&self) -> &Self {
        match self {
            Self::Foreign(path, arguments) if WRAPPERS.contains(&last(path)) => arguments.first().map_or(&Self::Unknown, Self::peeled),
            other => other,
        }
    }

    /// What is in an option, a result, a list.
    fn inner(&self) -> Self {
        match self {
            Self::Foreign(_, arguments) => arguments.first().cloned().unwrap_or_default(),
            _ => Self::Unknown,
        }
    }

    /// The canonical path of a map or set without order.
    pub(crate) fn unordered(&self) -> Option<&str> {
        let Self::Foreign(path, _) = self.peeled() else { return None };
        rules::rule_of(path).filter(|rule| rule.kind == crate::Kind::Unordered).map(|_| path.as_str())
    }
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

impl Index {
    /// A type as written.
    pub(crate) fn ty(&self, module: ModuleId, self_type: Option<&Ty>, generics: &BTreeSet<String>, ty: &Type) -> Ty {
        let again = |ty: &Type| self.ty(module, self_type, generics, ty);
        match ty {
            Type::Reference(inner) => again(&inner.elem),
            Type::Paren(inner) => again(&inner.elem),
            Type::Group(inner) => again(&inner.elem),
            Type::Ptr(inner) => again(&inner.elem),
            Type::Array(inner) => Ty::Foreign("Vec".into(), vec![again(&inner.elem)]),
            Type::Slice(inner) => Ty::Foreign("Vec".into(), vec![again(&inner.elem)]),
            Type::Tuple(tuple) => Ty::Tuple(tuple.elems.iter().map(again).collect()),
            Type::ImplTrait(bounds) => self.bound(module, bounds.bounds.iter()),
            Type::TraitObject(bounds) => self.bound(module, bounds.bounds.iter()),
            Type::Path(path) if path.qself.is_none() => {
                let names = segments(&path.path);
                match names.as_slice() {
                    [name] if name == "Self" => return self_type.cloned().unwrap_or_default(),
                    [name] if generics.contains(name) => return Ty::Param,
                    _ => {}
                }
                let arguments = match path.path.segments.last().map(|segment| &segment.arguments) {
                    Some(PathArguments::AngleBracketed(arguments)) => arguments
                        .args
                        .iter()
                        .filter_map(|argument| if let GenericArgument::Type(ty) = argument { Some(again(ty)) } else { None })
                        .collect(),
                    _ => Vec::new(),
                };
                self.named(module, &names, arguments)
            }
            _ => Ty::Unknown,
        }
    }

    fn bound<'a>(&self, module: ModuleId, mut bounds: impl Iterator<Item = &'a TypeParamBound>) -> Ty {
        let named = bounds.find_map(|bound| if let TypeParamBound::Trait(bound) = bound { Some(segments(&bound.path)) } else { None });
        named.map_or(Ty::Unknown, |names| self.named(module, &names, Vec::new()))
    }

    fn named(&self, module: ModuleId, names: &[String], arguments: Vec<Ty>) -> Ty {
        match self.resolve(module, names) {
            Target::Type(id) => Ty::Local(id, arguments),
            Target::Foreign(path) => Ty::Foreign(path, arguments),
            Target::Globbed(globs, name) => globs
                .iter()
                .find(|glob| rules::rule_by_glob(glob, &name).is_some())
                .map_or(Ty::Unknown, |glob| Ty::Foreign(rules::canonical(&format!("{glob}::{name}")), arguments)),
            _ => Ty::Unknown,
        }
    }

    /// What a call of a function gives.
    pub(crate) fn returned(&self, func: &Func) -> Ty {
        let Some(signature) = &func.signature else { return Ty::Unknown };
        match &signature.output {
            ReturnType::Default => Ty::Tuple(Vec::new()),
            ReturnType::Type(_, ty) => self.ty(func.module, func.self_type.as_ref(), &func.generics, ty),
        }
    }

    /// The type of an expression.
    pub(crate) fn infer(&self, scope: &Scope<'_>, expr: &Expr) -> Ty {
        match expr {
            Expr::Paren(inner) => self.infer(scope, &inner.expr),
            Expr::Group(inner) => self.infer(scope, &inner.expr),
            Expr::Reference(inner) => self.infer(scope, &inner.expr),
            Expr::Unary(inner) => self.infer(scope, &inner.expr),
            Expr::Await(inner) => self.infer(scope, &inner.base),
            Expr::Try(inner) => self.infer(scope, &inner.expr).inner(),
            Expr::Cast(cast) => scope.ty(&cast.ty),
            Expr::Index(index) => self.infer(scope, &index.expr).inner(),
            Expr::Tuple(tuple) => Ty::Tuple(tuple.elems.iter().map(|part| self.infer(scope, part)).collect()),
            Expr::Struct(made) => scope.named(&segments(&made.path)),
            Expr::Path(path) if path.qself.is_none() => self.value(scope, &segments(&path.path)),
            Expr::Field(field) => self.field(scope, field),
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) if path.qself.is_none() => self.made_by(scope, &path.path),
                _ => Ty::Unknown,
            },
            Expr::MethodCall(call) => {
                let receiver = self.infer(scope, &call.receiver);
                let name = call.method.to_string();
                let own = self.methods_of(receiver.peeled(), &name);
                if let [one] = own.as_slice() {
                    return self.returned(&self.funcs[*one]);
                }
                let is_option = matches!(&receiver, Ty::Foreign(path, _) if matches!(last(path), "Option" | "Result"));
                match name.as_str() {
                    "unwrap" | "expect" | "unwrap_or_default" | "unwrap_or" | "unwrap_or_else" if is_option => receiver.inner(),
                    name if THROUGH.contains(&name) => receiver,
                    _ => Ty::Unknown,
                }
            }
            _ => Ty::Unknown,
        }
    }

    fn value(&self, scope: &Scope<'_>, names: &[String]) -> Ty {
        if let [name] = names {
            if let Some(ty) = scope.local(name) {
                return ty.clone();
            }
            if name == "self" {
                return scope.func.self_type.clone().unwrap_or_default();
            }
        }
        match self.resolve(scope.func.module, names) {
            Target::Static(id) => {
                let found = &self.statics[id];
                found.ty.as_ref().map_or(Ty::Unknown, |ty| self.ty(found.module, None, &BTreeSet::new(), ty))
            }
            // A unit struct.
            Target::Type(id) => Ty::Local(id, Vec::new()),
            _ => Ty::Unknown,
        }
    }

    fn field(&self, scope: &Scope<'_>, field: &syn::ExprField) -> Ty {
        let name = match &field.member {
            syn::Member::Named(name) => crate::index::plain(name),
            syn::Member::Unnamed(at) => at.index.to_string(),
        };
        match self.infer(scope, &field.base).peeled() {
            Ty::Local(id, _) => {
                let def = &self.types[*id];
                let generics = def.generics.iter().cloned().collect();
                let own = Ty::Local(*id, Vec::new());
                def.fields.get(&name).map_or(Ty::Unknown, |ty| self.ty(def.module, Some(&own), &generics, ty))
            }
            Ty::Tuple(parts) => name.parse().ok().and_then(|at: usize| parts.get(at).cloned()).unwrap_or_default(),
            _ => Ty::Unknown,
        }
    }

    /// What a call of a path gives: of a function of ours, of a constructor.
    fn made_by(&self, scope: &Scope<'_>, path: &syn::Path) -> Ty {
        let names = segments(path);
        match scope.resolve(&names) {
            Target::Function(id) => self.returned(&self.funcs[id]),
            Target::Type(id) => Ty::Local(id, Vec::new()),
            Target::Member(id, name) => {
                if self.types[id].variants.contains(&name) {
                    return Ty::Local(id, Vec::new());
                }
                match self.methods.get(&(TypeKey::Local(id), name)).map(Vec::as_slice) {
                    Some([one]) => self.returned(&self.funcs[*one]),
                    _ => Ty::Unknown,
                }
            }
            Target::Foreign(path) => match path.rsplit_once("::") {
                Some((ty, "new" | "default" | "with_capacity" | "from" | "from_iter" | "from_path")) => {
                    Ty::Foreign(ty.to_owned(), Vec::new())
                }
                _ => Ty::Unknown,
            },
            Target::Globbed(globs, name) => {
                let made = globs.iter().find(|glob| rules::rule_by_glob(glob, &name).is_some());
                match (made, name.rsplit_once("::")) {
                    (Some(glob), Some((ty, _))) => Ty::Foreign(rules::canonical(&format!("{glob}::{ty}")), Vec::new()),
                    _ => Ty::Unknown,
                }
            }
            _ => Ty::Unknown,
        }
    }

    /// The methods of a type under a name.
    pub(crate) fn methods_of(&self, ty: &Ty, name: &str) -> Vec<usize> {
        let key = match ty {
            Ty::Local(id, _) => TypeKey::Local(*id),
            Ty::Foreign(path, _) => TypeKey::Foreign(path.clone()),
            _ => return Vec::new(),
        };
        self.methods.get(&(key, name.to_owned())).cloned().unwrap_or_default()
    }
}
