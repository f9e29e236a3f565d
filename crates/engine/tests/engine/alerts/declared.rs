//! Rules that the server's settings declare.

use sempre_engine::DeclaredRules;

use super::*;

fn declared(rules: &[AlertRule]) -> Vec<(String, AlertRule)> {
    rules.iter().map(|rule| (NAMESPACE.to_owned(), rule.clone())).collect()
}

fn names(w: &World) -> Vec<String> {
    let rules = w.engine.list_alert_rules(&ListAlertRulesRequest { namespace: NAMESPACE.into() }).unwrap().rules;
    rules.into_iter().map(|info| info.rule.unwrap().name).collect()
}

#[tokio::test]
async fn declared_rules_are_in_force_together_or_not_at_all() {
    let mut w = world_with(allowing()).await;
    set(&w, rule("by call", FAILED)).await;
    let declare = async |w: &World, rules: &[AlertRule]| soon(w.engine.declare_alert_rules(declared(rules))).await;
    let done = declare(&w, &[rule("a", FAILED), rule("b", FAILED)]).await.unwrap();
    assert_eq!((done, names(&w)), (DeclaredRules { set: 2, gone: 0 }, vec!["a".into(), "b".into(), "by call".into()]));
    fail(&w, "one").await;
    assert_eq!(taken(&w).len(), 3);
    // One that cannot be a rule, one of a name that a call has taken, one that comes twice: nothing changes.
    for (bad, name) in [(rule("c", "Nothing = 1"), "c"), (rule("by call", FAILED), "by call"), (rule("d", "WorkflowType = 'X'"), "d")] {
        let refused = declare(&w, &[rule("d", FAILED), bad]).await.unwrap_err();
        assert_eq!((refused.namespace.as_str(), refused.name.as_str()), (NAMESPACE, name));
        assert_eq!(names(&w), ["a", "b", "by call"]);
    }
    let elsewhere = vec![("nowhere".to_owned(), rule("e", FAILED))];
    assert!(matches!(w.engine.declare_alert_rules(elsewhere).await, Err(bad) if matches!(*bad.refusal, Refusal::NamespaceNotFound(_))));
    // What is as it was stays as it is, with what it remembers; what is declared no more goes.
    let done = declare(&w, &[rule("b", FAILED), rule("c", FAILED)]).await.unwrap();
    assert_eq!((done, names(&w)), (DeclaredRules { set: 1, gone: 1 }, vec!["b".into(), "by call".into(), "c".into()]));
    assert_eq!((info(&w, "b").version, info(&w, "b").from_file, info(&w, "by call").from_file), (1, true, false));
    assert_eq!(declare(&w, &[rule("b", FAILED), rule("c", FAILED)]).await.unwrap(), DeclaredRules::default());
    // Calls change none of them.
    let refused = try_set(&w, rule("b", "WorkflowType = 'Y'")).await;
    assert!(matches!(refused, Err(Refusal::FailedPrecondition(text)) if text.contains("--alerts-file")));
    let delete = || DeleteAlertRuleRequest { namespace: NAMESPACE.into(), name: "b".into() };
    assert!(matches!(soon(w.engine.delete_alert_rule(delete())).await, Err(Refusal::FailedPrecondition(_))));
    // A server that declares none leaves them to calls.
    w.crash().await;
    w.settle().await;
    assert_eq!(names(&w), ["b", "by call", "c"]);
    assert!(!info(&w, "b").from_file);
    soon(w.engine.delete_alert_rule(delete())).await.unwrap();
    assert_eq!(names(&w), ["by call", "c"]);
}
