//! Walks one function: what it uses, and whom it calls.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Expr, FnArg, Macro, Pat, Token, Type,
    parse::Parser,
    punctuated::Punctuated,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::{
    Kind,
    index::{Body, Func, Index, Role, StaticId, TypeKey, plain, segments},
    names::{FuncId, Target},
    rules::{self, Rule},
    types::Ty,
};

/// A call, or another use, of a function of the sources.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) to: FuncId,
    pub(crate) line: usize,
    pub(crate) by_name: bool,
}

/// A use of something that is refused.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) instead: String,
}

/// What a walk has found.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) edges: Vec<Edge>,
    pub(crate) uses: Vec<Use>,
}

/// The variables at a point of a function.
pub(crate) struct Scope<'a> {
    pub(crate) index: &'a Index,
    pub(crate) func: &'a Func,
    variables: Vec<BTreeMap<String, Ty>>,
}

impl Scope<'_> {
    /// The type of a variable, if there is one of this name.
    pub(crate) fn local(&self, name: &str) -> Option<&Ty> {
        self.variables.iter().rev().find_map(|variables| variables.get(name))
    }

    pub(crate) fn ty(&self, ty: &Type) -> Ty {
        self.index.ty(self.func.module, self.func.self_type.as_ref(), &self.func.generics, ty)
    }

    /// The type of a struct expression.
    pub(crate) fn named(&self, names: &[String]) -> Ty {
        match self.resolve(names) {
            Target::Type(id) | Target::Member(id, _) => Ty::Local(id, Vec::new()),
            Target::Foreign(path) => Ty::Foreign(path, Vec::new()),
            _ => Ty::Unknown,
        }
    }

    /// What a path names here; `Self` too.
    pub(crate) fn resolve(&self, names: &[String]) -> Target {
        if names.first().is_some_and(|first| first == "Self") {
            return match (self.func.self_type.as_ref(), names.get(1)) {
                (Some(Ty::Local(id, _)), None) => Target::Type(*id),
                (Some(Ty::Local(id, _)), Some(name)) => Target::Member(*id, name.clone()),
                (Some(Ty::Foreign(path, _)), Some(name)) => Target::Foreign(rules::canonical(&format!("{path}::{name}"))),
                _ => Target::Unknown,
            };
        }
        self.index.resolve(self.func.module, names)
    }

    fn bind(&mut self, name: String, ty: Ty) {
        if let Some(variables) = self.variables.last_mut() {
            variables.insert(name, ty);
        }
    }

    /// Binds the names of a pattern.
    fn bind_pattern(&mut self, pattern: &Pat, ty: Ty) {
        match pattern {
            Pat::Ident(ident) => {
                let name = plain(&ident.ident);
                // What begins with a capital is a constant or a variant.
                if !name.starts_with(char::is_uppercase) {
                    self.bind(name, ty);
                }
            }
            Pat::Type(typed) => {
                let ty = self.ty(&typed.ty);
                self.bind_pattern(&typed.pat, ty);
            }
            Pat::Reference(inner) => self.bind_pattern(&inner.pat, ty),
            Pat::Paren(inner) => self.bind_pattern(&inner.pat, ty),
            Pat::Tuple(tuple) => {
                let parts = if let Ty::Tuple(parts) = ty { parts } else { Vec::new() };
                for (at, part) in tuple.elems.iter().enumerate() {
                    self.bind_pattern(part, parts.get(at).cloned().unwrap_or_default());
                }
            }
            Pat::TupleStruct(tuple) => {
                let is_wrapping = tuple.path.segments.last().is_some_and(|last| last.ident == "Some" || last.ident == "Ok");
                let inner = match ty {
                    Ty::Foreign(_, mut arguments) if is_wrapping && !arguments.is_empty() => arguments.swap_remove(0),
                    _ => Ty::Unknown,
                };
                for part in &tuple.elems {
                    self.bind_pattern(part, inner.clone());
                }
            }
            Pat::Struct(made) => {
                let owner = self.named(&segments(&made.path));
                for field in &made.fields {
                    let ty = match (&owner, &field.member) {
                        (Ty::Local(id, _), syn::Member::Named(name)) => {
                            let def = &self.index.types[*id];
                            let generics = def.generics.iter().cloned().collect();
                            def.fields.get(&plain(name)).map_or(Ty::Unknown, |ty| self.index.ty(def.module, None, &generics, ty))
                        }
                        _ => Ty::Unknown,
                    };
                    self.bind_pattern(&field.pat, ty);
                }
            }
            Pat::Slice(slice) => slice.elems.iter().for_each(|part| self.bind_pattern(part, Ty::Unknown)),
            Pat::Or(or) => or.cases.iter().for_each(|case| self.bind_pattern(case, ty.clone())),
            _ => {}
        }
    }
}

/// Walks a function of the index.
pub(crate) fn walk(index: &Index, func: &Func) -> Seen {
    let scope = Scope { index, func, variables: vec![BTreeMap::new()] };
    let mut walker = Walker { index, scope, seen: Seen::default(), hint: None };
    if let Some(signature) = &func.signature {
        for argument in &signature.inputs {
            if let FnArg::Typed(argument) = argument {
                walker.visit_type(&argument.ty);
                let ty = walker.scope.ty(&argument.ty);
                walker.scope.bind_pattern(&argument.pat, ty);
            }
        }
        walker.visit_return_type(&signature.output);
    }
    match &func.body {
        Body::Block(block) => walker.visit_block(block),
        Body::Expr(expr) => walker.visit_expr(expr),
        Body::Tokens(tokens) => walker.tokens(tokens.clone()),
        Body::Types(types) => types.iter().for_each(|ty| walker.visit_type(ty)),
    }
    walker.seen
}

struct Walker<'a> {
    index: &'a Index,
    scope: Scope<'a>,
    seen: Seen,
    /// The type of the first parameter of the closure that is visited next.
    hint: Option<Ty>,
}

/// Methods that std's types have too: without a type their name says nothing.
const EVERYBODYS: &[&str] = &[
    "new",
    "get",
    "get_mut",
    "set",
    "insert",
    "remove",
    "push",
    "pop",
    "len",
    "is_empty",
    "iter",
    "next",
    "map",
    "clone",
    "into",
    "from",
    "as_ref",
    "as_mut",
    "as_str",
    "to_string",
    "unwrap",
    "expect",
    "take",
    "replace",
    "contains",
    "contains_key",
    "entry",
    "clear",
    "extend",
    "first",
    "last",
    "find",
    "filter",
    "collect",
    "join",
    "split",
    "parse",
    "run",
    "poll",
    "cancel",
    "signal",
    "result",
    "timer",
    "state",
    "state_mut",
    "send",
    "recv",
    "write",
    "read",
    "lock",
    "load",
    "store",
    "wait",
    "eq",
    "cmp",
    "fmt",
    "hash",
    "drop",
    "default",
    "and_then",
    "or_else",
    "ok",
    "err",
    "borrow",
    "borrow_mut",
    "add",
    "sub",
    "start",
    "update",
    "query",
    "id",
    "name",
    "min",
    "max",
    "count",
    "sum",
    "append",
    "drain",
    "retain",
    "keys",
    "values",
    "now",
    "elapsed",
    "flush",
    "close",
    "open",
    "connect",
    "execute",
];
/// Methods of the context that hand the workflow's own fields to a closure.
const STATE_CLOSURES: &[&str] = &["state", "state_mut", "wait_condition", "wait_condition_with_options"];
/// Methods that use what is in a static of another crate.
const STATIC_USES: &[&str] = &[
    "lock",
    "read",
    "write",
    "load",
    "store",
    "swap",
    "set",
    "get_or_init",
    "borrow",
    "borrow_mut",
    "with",
    "fetch_add",
    "fetch_sub",
    "fetch_or",
    "fetch_and",
    "fetch_xor",
    "fetch_max",
    "fetch_min",
    "compare_exchange",
];

impl Walker<'_> {
    fn used(&mut self, span: Span, kind: Kind, what: String, instead: &str) {
        let start = span.start();
        self.seen.uses.push(Use { line: start.line, column: start.column + 1, kind, what, instead: instead.to_owned() });
    }

    fn by_rule(&mut self, span: Span, rule: &'static Rule, what: &str) {
        self.used(span, rule.kind, what.to_owned(), rule.instead());
    }

    fn edge(&mut self, to: FuncId, span: Span, by_name: bool) {
        if self.index.funcs[to].role != Role::Activity {
            self.seen.edges.push(Edge { to, line: span.start().line, by_name });
        }
    }

    /// A path that is a value: a function that is called or handed on, a static.
    fn value_path(&mut self, names: &[String], span: Span) {
        if let [name] = names
            && self.scope.local(name).is_some()
        {
            return;
        }
        if let [first, .., name] = names
            && self.scope.func.generics.contains(first)
        {
            self.any_of_a_trait(&name.clone(), span);
            return;
        }
        match self.scope.resolve(names) {
            Target::Function(id) => self.edge(id, span, false),
            Target::Static(id) => self.static_used(id, span),
            Target::Member(id, name) => {
                let own = self.index.methods.get(&(TypeKey::Local(id), name)).cloned().unwrap_or_default();
                own.into_iter().for_each(|method| self.edge(method, span, false));
            }
            Target::Foreign(path) => {
                if let Some(rule) = rules::rule_of(&path) {
                    self.by_rule(span, rule, &path);
                } else if let Some((owner, name)) = path.rsplit_once("::") {
                    // A trait of ours for a type of others.
                    let own = self.index.methods_of(&Ty::Foreign(owner.to_owned(), Vec::new()), name);
                    own.into_iter().for_each(|method| self.edge(method, span, false));
                }
            }
            Target::Globbed(globs, name) => {
                if let Some((glob, rule)) = globs.iter().find_map(|glob| Some((glob, rules::rule_by_glob(glob, &name)?))) {
                    self.by_rule(span, rule, &rules::canonical(&format!("{glob}::{name}")));
                }
            }
            Target::Module(_) | Target::Type(_) | Target::Constant | Target::Unknown => {}
        }
    }

    /// A method of whatever implements a trait, in this crate.
    fn any_of_a_trait(&mut self, name: &str, span: Span) {
        for id in self.methods_here(name) {
            if self.index.funcs[id].of_trait {
                self.edge(id, span, true);
            }
        }
    }

    /// The methods of a name in the crate of this function.
    fn methods_here(&self, name: &str) -> Vec<FuncId> {
        let krate = |func: &Func| self.index.modules[func.module].krate;
        let here = |id: &FuncId| krate(&self.index.funcs[*id]) == krate(self.scope.func);
        self.index.methods_by_name.get(name).into_iter().flatten().copied().filter(here).collect()
    }

    fn static_used(&mut self, id: StaticId, span: Span) {
        let found = &self.index.statics[id];
        let ty = found.ty.as_ref().map(|ty| self.index.ty(found.module, None, &Default::default(), ty));
        if found.is_mutable || ty.is_some_and(|ty| self.changes_inside(&ty, 0)) {
            self.used(span, Kind::Global, format!("static {}", found.name), Kind::Global.instead());
        } else if let Some(begins) = found.begins {
            // What a lazy one begins with is run by who comes first.
            self.edge(begins, span, false);
        }
    }

    /// The type's content can change behind a shared reference.
    fn changes_inside(&self, ty: &Ty, depth: usize) -> bool {
        if depth > 4 {
            return false;
        }
        match ty {
            Ty::Foreign(path, arguments) => {
                rules::is_interior(path) || arguments.iter().any(|argument| self.changes_inside(argument, depth + 1))
            }
            Ty::Local(id, arguments) => {
                let def = &self.index.types[*id];
                let generics = def.generics.iter().cloned().collect();
                let part = |part: &Type| self.changes_inside(&self.index.ty(def.module, None, &generics, part), depth + 1);
                def.parts.iter().any(part) || arguments.iter().any(|argument| self.changes_inside(argument, depth + 1))
            }
            Ty::Tuple(parts) => parts.iter().any(|part| self.changes_inside(part, depth + 1)),
            Ty::Param | Ty::Unknown => false,
        }
    }

    /// A type that is named. Types that do nothing by being named are let be.
    fn type_path(&mut self, names: &[String], span: Span) {
        let (path, rule) = match self.scope.resolve(names) {
            Target::Foreign(path) => {
                let rule = rules::rule_of(&path);
                (path, rule)
            }
            Target::Globbed(globs, name) => {
                let Some(glob) = globs.iter().find(|glob| rules::rule_by_glob(glob, &name).is_some()) else { return };
                (rules::canonical(&format!("{glob}::{name}")), rules::rule_by_glob(glob, &name))
            }
            _ => return,
        };
        if let Some(rule) = rule.filter(|rule| rule.path == path || rule.kind == Kind::Unordered) {
            self.by_rule(span, rule, &path);
        }
    }

    fn method_call(&mut self, receiver: &Ty, receiver_path: Option<Vec<String>>, method: &syn::Ident, arguments: usize) {
        let (name, span) = (plain(method), method.span());
        if rules::ITERATIONS.contains(&name.as_str())
            && let Some(path) = receiver.unordered()
        {
            self.used(span, Kind::Unordered, format!("{path}::{name}"), Kind::Unordered.instead());
        }
        if let Some(names) = receiver_path.filter(|_| STATIC_USES.contains(&name.as_str())) {
            self.foreign_static(&names, span);
        }
        match receiver.peeled() {
            Ty::Foreign(path, _) => {
                let path = rules::canonical(&format!("{path}::{name}"));
                // That the value is there has been told where it was made.
                match rules::rule_of(&path).filter(|rule| rule.path == path && rule.kind != Kind::Unordered) {
                    Some(rule) => self.by_rule(span, rule, &path),
                    None => {
                        let own = self.index.methods_of(receiver.peeled(), &name);
                        own.into_iter().for_each(|id| self.edge(id, span, false));
                    }
                }
            }
            Ty::Local(id, _) => {
                let own = self.index.methods_of(&Ty::Local(*id, Vec::new()), &name);
                if own.is_empty() {
                    // One that a trait gives to all that implement it.
                    self.any_of_a_trait(&name, span);
                }
                own.into_iter().for_each(|id| self.edge(id, span, false));
            }
            Ty::Param => self.any_of_a_trait(&name, span),
            Ty::Tuple(_) | Ty::Unknown => {
                if let Some((_, _, path)) = rules::TELLING_METHODS.iter().find(|known| known.0 == name && known.1 == arguments)
                    && let Some(rule) = rules::rule_of(path)
                {
                    self.by_rule(span, rule, path);
                    return;
                }
                if EVERYBODYS.contains(&name.as_str()) || *receiver.peeled() != Ty::Unknown {
                    return;
                }
                // A name that one method of the crate has is that method, most likely; one that several have is nobody's.
                let methods = self.methods_here(&name);
                let is_method = |id: &&FuncId| {
                    let func = &self.index.funcs[**id];
                    let takes_self = func.signature.as_ref().is_some_and(|signature| signature.receiver().is_some());
                    takes_self && !matches!(func.role, Role::Test | Role::Activity)
                };
                let mut methods = methods.iter().filter(is_method);
                if let (Some(id), None) = (methods.next().copied(), methods.next()) {
                    let func = &self.index.funcs[id];
                    let takes = func.signature.as_ref().map_or(0, |signature| signature.inputs.len().saturating_sub(1));
                    if takes == arguments {
                        self.edge(id, span, true);
                    }
                }
            }
        }
    }

    /// `OTHER_CRATES_STATIC.lock()`.
    fn foreign_static(&mut self, names: &[String], span: Span) {
        let Some(name) = names.last().filter(|name| name.len() > 1 && name.chars().all(|c| c.is_uppercase() || c.is_numeric() || c == '_'))
        else {
            return;
        };
        if let Target::Foreign(path) | Target::Globbed(_, path) = self.scope.resolve(names) {
            self.used(span, Kind::Global, if path.is_empty() { name.clone() } else { path }, Kind::Global.instead());
        }
    }

    fn macro_call(&mut self, names: &[String], span: Span, tokens: TokenStream) {
        let name = names.last().cloned().unwrap_or_default();
        let local = if names.len() == 1 || names[0] == "crate" { self.index.macros.get(&name).cloned() } else { None };
        if let Some(local) = local {
            local.into_iter().for_each(|id| self.edge(id, span, false));
        } else {
            let path = match self.scope.resolve(names) {
                Target::Foreign(path) => Some(format!("{path}!")),
                Target::Globbed(globs, name) => {
                    globs.iter().map(|glob| rules::canonical(&format!("{glob}::{name}!"))).find(|path| rules::rule_of(path).is_some())
                }
                _ => None,
            };
            if let Some((path, rule)) = path.and_then(|path| Some((path.clone(), rules::rule_of(&path)?))) {
                let mut first = tokens.clone().into_iter();
                let biased = path == "futures::select!" && first.next().is_some_and(|token| token.to_string() == "biased");
                if !biased {
                    self.by_rule(span, rule, &path);
                }
            }
        }
        self.tokens(tokens);
    }

    /// What is given to a macro: expressions, statements, or else whatever in it looks like a path, a call or a block.
    fn tokens(&mut self, tokens: TokenStream) {
        let list = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(list) = list.parse2(tokens.clone()) {
            return list.iter().for_each(|expr| self.visit_expr(expr));
        }
        if let Ok(statements) = syn::Block::parse_within.parse2(tokens.clone()) {
            self.scope.variables.push(BTreeMap::new());
            statements.iter().for_each(|statement| self.visit_stmt(statement));
            self.scope.variables.pop();
            return;
        }
        self.scan(tokens);
    }

    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, char: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == char);
        let mut at = 0;
        // The path that has just ended, for what is called on it.
        let mut before: Option<Vec<String>> = None;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(first) => {
                    let called_on = at > 0 && is(at - 1, '.');
                    let mut names = vec![plain(first)];
                    at += 1;
                    while is(at, ':') && is(at + 1, ':') {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 2) else { break };
                        names.push(plain(next));
                        at += 3;
                    }
                    let group = match tokens.get(at) {
                        Some(TokenTree::Group(group)) => Some(group.stream()),
                        _ => None,
                    };
                    let next_is_group = group.is_some();
                    if is(at, '!') && matches!(tokens.get(at + 1), Some(TokenTree::Group(_))) {
                        if let Some(TokenTree::Group(group)) = tokens.get(at + 1) {
                            self.macro_call(&names, first.span(), group.stream());
                        }
                        at += 2;
                    } else if called_on && next_is_group {
                        let list = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(group.unwrap_or_default());
                        let arguments = list.map_or(0, |list| list.len());
                        let receiver = match before.as_deref() {
                            Some([name]) if name == "self" => self.scope.func.self_type.clone(),
                            Some([name]) => self.scope.local(name).cloned(),
                            _ => None,
                        };
                        self.method_call(&receiver.unwrap_or_default(), before.take(), first, arguments);
                    } else if !called_on {
                        self.value_path(&names, first.span());
                    }
                    before = Some(names).filter(|_| !called_on);
                    continue;
                }
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    before = None;
                }
                TokenTree::Punct(punct) if punct.as_char() == '.' => {}
                _ => before = None,
            }
            at += 1;
        }
    }

    /// A scope of its own.
    fn within(&mut self, body: impl FnOnce(&mut Self)) {
        self.scope.variables.push(BTreeMap::new());
        body(self);
        self.scope.variables.pop();
    }
}

impl<'ast> Visit<'ast> for Walker<'_> {
    // Items in a block are functions of their own.
    fn visit_item(&mut self, _: &'ast syn::Item) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_pat(&mut self, pattern: &'ast Pat) {
        // Paths in patterns do nothing; types that are written there are types.
        if let Pat::Type(typed) = pattern {
            self.visit_type(&typed.ty);
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.within(|this| visit::visit_block(this, block));
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let mut ty = Ty::Unknown;
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
            ty = self.index.infer(&self.scope, &init.expr);
            if let Some((_, otherwise)) = &init.diverge {
                self.visit_expr(otherwise);
            }
        }
        self.visit_pat(&local.pat);
        self.scope.bind_pattern(&local.pat, ty);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        let mut hint = self.hint.take();
        self.within(|this| {
            for input in &closure.inputs {
                this.visit_pat(input);
                let ty = hint.take().unwrap_or_default();
                this.scope.bind_pattern(input, ty);
            }
            this.visit_return_type(&closure.output);
            this.visit_expr(&closure.body);
        });
    }

    fn visit_expr_for_loop(&mut self, walk: &'ast syn::ExprForLoop) {
        self.visit_expr(&walk.expr);
        let ty = self.index.infer(&self.scope, &walk.expr);
        if let Some(path) = ty.unordered() {
            self.used(walk.expr.span(), Kind::Unordered, path.to_owned(), Kind::Unordered.instead());
        }
        let item = match ty.peeled() {
            Ty::Foreign(path, arguments) if path == "Vec" => arguments.first().cloned().unwrap_or_default(),
            _ => Ty::Unknown,
        };
        self.within(|this| {
            this.scope.bind_pattern(&walk.pat, item);
            this.visit_block(&walk.body);
        });
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.within(|this| {
            this.scope.bind_pattern(&arm.pat, Ty::Unknown);
            if let Some((_, guard)) = &arm.guard {
                this.visit_expr(guard);
            }
            this.visit_expr(&arm.body);
        });
    }

    fn visit_expr_let(&mut self, matched: &'ast syn::ExprLet) {
        self.visit_expr(&matched.expr);
        let ty = self.index.infer(&self.scope, &matched.expr);
        self.scope.bind_pattern(&matched.pat, ty);
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        self.within(|this| {
            this.visit_expr(&branch.cond);
            this.visit_block(&branch.then_branch);
        });
        if let Some((_, otherwise)) = &branch.else_branch {
            self.visit_expr(otherwise);
        }
    }

    fn visit_expr_while(&mut self, walk: &'ast syn::ExprWhile) {
        self.within(|this| visit::visit_expr_while(this, walk));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        if let Some(turbofish) = &call.turbofish {
            self.visit_angle_bracketed_generic_arguments(turbofish);
        }
        let receiver = self.index.infer(&self.scope, &call.receiver);
        let path = match &*call.receiver {
            Expr::Path(path) if path.qself.is_none() => Some(segments(&path.path)),
            _ => None,
        };
        self.method_call(&receiver, path, &call.method, call.args.len());
        let name = plain(&call.method);
        let hint = STATE_CLOSURES.contains(&name.as_str()).then(|| match receiver.peeled() {
            Ty::Foreign(_, arguments) if !arguments.is_empty() => arguments[0].clone(),
            _ => self.scope.func.self_type.clone().unwrap_or_default(),
        });
        for argument in &call.args {
            self.hint = hint.clone().filter(|_| matches!(argument, Expr::Closure(_)));
            self.visit_expr(argument);
        }
        self.hint = None;
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let names = segments(&path.path);
        match &path.qself {
            None => self.value_path(&names, path.path.span()),
            Some(qself) => {
                self.visit_type(&qself.ty);
                let ty = self.scope.ty(&qself.ty);
                let name = names.last().cloned().unwrap_or_default();
                let own = self.index.methods_of(&ty, &name);
                if own.is_empty() && matches!(ty, Ty::Param | Ty::Unknown) {
                    self.any_of_a_trait(&name, path.path.span());
                }
                own.into_iter().for_each(|id| self.edge(id, path.path.span(), false));
                self.value_path(&names, path.path.span());
            }
        }
        // `collect::<HashMap<_, _>>` has types in it.
        for segment in &path.path.segments {
            self.visit_path_arguments(&segment.arguments);
        }
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        self.type_path(&segments(&made.path), made.path.span());
        made.fields.iter().for_each(|field| self.visit_expr(&field.expr));
        if let Some(rest) = &made.rest {
            self.visit_expr(rest);
        }
    }

    fn visit_type_path(&mut self, path: &'ast syn::TypePath) {
        if path.qself.is_none() {
            self.type_path(&segments(&path.path), path.path.span());
        }
        visit::visit_type_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.macro_call(&segments(&called.path), called.path.span(), called.tokens.clone());
    }
}
