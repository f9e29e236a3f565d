//! From the methods of workflows to all that they reach, the shortest way to each; then what allow comments take away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    Finding, Kind, Note, Report, Step,
    allow::Allow,
    index::{Body, Index, Role},
    names::FuncId,
    report::{ALLOWS_NOTHING, Allowed, CodeSpan},
    walk::walk,
};

/// How a function was reached first.
struct Way {
    from: Option<(FuncId, usize, bool)>,
}

pub(crate) fn find(index: &Index) -> Report {
    let mut ways: BTreeMap<FuncId, Way> = BTreeMap::new();
    let mut queue = VecDeque::new();
    let roots = (0..index.funcs.len()).filter(|id| index.funcs[*id].role == Role::Workflow).chain(index.states.iter().copied());
    for id in roots {
        ways.insert(id, Way { from: None });
        queue.push_back(id);
    }
    let mut report = Report {
        notes: index.notes.clone(),
        workflows: index
            .types
            .iter()
            .filter(|def| def.is_workflow)
            .map(|def| (&index.files[def.file].path, &def.name))
            .collect::<BTreeSet<_>>()
            .len(),
        files: index.files.iter().map(|file| &file.path).collect::<BTreeSet<_>>().len(),
        ..Report::default()
    };
    // One line uses a thing of a kind once, however often it names it.
    let mut told = BTreeSet::new();
    let (mut found, mut counted) = (Vec::new(), BTreeSet::new());
    while let Some(id) = queue.pop_front() {
        let func = &index.funcs[id];
        let seen = walk(index, func);
        for edge in seen.edges {
            if let std::collections::btree_map::Entry::Vacant(entry) = ways.entry(edge.to) {
                entry.insert(Way { from: Some((id, edge.line, edge.by_name)) });
                queue.push_back(edge.to);
            }
        }
        let via = steps(index, &ways, id);
        for one in seen.uses {
            // A file may be a module of several programs.
            if told.insert((&index.files[func.file].path, one.line, one.kind)) {
                found.push((
                    func.file,
                    Finding {
                        file: index.files[func.file].path.clone(),
                        line: one.line,
                        column: one.column,
                        kind: one.kind,
                        what: one.what,
                        why: one.kind.why().to_owned(),
                        instead: one.instead,
                        function: func.name.clone(),
                        via: via.clone(),
                    },
                ));
            }
        }
        if !matches!(func.body, Body::Types(_)) {
            counted.insert((&index.files[func.file].path, func.first, &func.name));
        }
        if func.last > 0 {
            let file = index.files[func.file].path.clone();
            report.spans.push(CodeSpan { file, first: func.first, last: func.last, function: func.name.clone(), via });
        }
    }
    report.functions = counted.len();
    apply_allows(index, found, &mut report);
    report
}

fn steps(index: &Index, ways: &BTreeMap<FuncId, Way>, id: FuncId) -> Vec<Step> {
    let (mut steps, mut at) = (Vec::new(), id);
    while let Some((from, line, by_name)) = ways.get(&at).and_then(|way| way.from) {
        let func = &index.funcs[from];
        steps.push(Step { function: func.name.clone(), file: index.files[func.file].path.clone(), line, by_name });
        at = from;
    }
    steps.reverse();
    steps
}

fn apply_allows(index: &Index, found: Vec<(usize, Finding)>, report: &mut Report) {
    let mut used = BTreeSet::new();
    for (file, finding) in found {
        let allows = index.files[file].allows.by_line.get(&finding.line);
        match allows.into_iter().flatten().find(|allow| allow.kinds.contains(&finding.kind)) {
            None => report.findings.push(finding),
            Some(allow) => {
                used.insert((file, allow.line));
                report.allowed += 1;
            }
        }
    }
    for (number, file) in index.files.iter().enumerate() {
        let allows = file.allows.by_line.iter();
        let allowed =
            |line: usize, allow: &Allow| Allowed { file: file.path.clone(), line, kinds: allow.kinds.clone(), comment: allow.line };
        report.allows.extend(allows.flat_map(|(line, allows)| allows.iter().map(|allow| allowed(*line, allow))));
        for (line, why) in &file.allows.wrong {
            report.findings.push(Finding {
                file: file.path.clone(),
                line: *line,
                column: 1,
                kind: Kind::Allow,
                what: "sempre: allow".to_owned(),
                why: format!("is not understood: {why}"),
                instead: Kind::Allow.instead().to_owned(),
                function: String::new(),
                via: Vec::new(),
            });
        }
        for allow in file.allows.by_line.values().flatten().filter(|allow| !used.contains(&(number, allow.line))) {
            report.notes.push(Note { file: file.path.clone(), line: allow.line, text: ALLOWS_NOTHING.to_owned(), unseen: false });
        }
    }
    report.findings.sort_by(|a, b| (&a.file, a.line, a.column, a.kind).cmp(&(&b.file, b.line, b.column, b.kind)));
}
