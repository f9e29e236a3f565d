//! The examples, run as a reader would. Cargo builds them with the tests.

use std::{path::PathBuf, process::Command};

use crate::life::Outcome;

fn example(name: &str) -> Outcome<PathBuf> {
    let tests = std::env::current_exe()?;
    let target = tests.parent().and_then(|deps| deps.parent()).ok_or("no target folder")?;
    let path = target.join("examples").join(name);
    if path.exists() { Ok(path) } else { Err(format!("{} is not built: cargo build -p sempre-patterns --examples", path.display()).into()) }
}

fn tell(name: &str, args: &[&str]) -> Outcome<String> {
    let told = Command::new(example(name)?).args(args).output()?;
    let text = String::from_utf8(told.stdout)?;
    if told.status.success() { Ok(text) } else { Err(format!("{}\n{text}\n{}", told.status, String::from_utf8_lossy(&told.stderr)).into()) }
}

#[test]
fn an_account_lives_through_its_runs() -> Outcome {
    let text = tell("account", &[])?;
    assert!(text.contains("d1 again: balance 5000 (it has its effect once)"), "{text}");
    assert!(text.ends_with("The account is closed with 3580 cents.\n"), "{text}");
    Ok(())
}

#[test]
fn a_cart_is_paid_once_and_another_expires() -> Outcome {
    let text = tell("cart", &[])?;
    assert!(text.contains("3800 cents (it has its effect once)"), "{text}");
    assert!(text.contains("Ada pays 5200 cents, and her cart is done."), "{text}");
    assert!(text.contains("… with {\"kettle\": (1, 4500)} in it, and nothing paid."), "{text}");
    Ok(())
}

#[test]
fn a_stock_is_never_sold_twice() -> Outcome {
    let text = tell("inventory", &[])?;
    assert!(text.contains("set aside 18, left 2: together 20"), "{text}");
    assert!(text.contains("6 are served, 4 are told"), "{text}");
    assert!(text.ends_with("given up with 102 on the shelf.\n"), "{text}");
    Ok(())
}

#[test]
fn an_expense_is_approved_and_paid_once() -> Outcome {
    let text = tell("approval", &[])?;
    assert!(text.contains("letter: the boss, Bob does not answer: please approve"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 200 OK: NotAwaited").count(), 2, "{text}");
    Ok(())
}

#[test]
fn an_invoice_is_paid_once_whatever_gets_lost() -> Outcome {
    let text = tell("payments", &[])?;
    for said in [
        "somebody has begun",
        "the bank knows the key: receipt 1",
        "paid, receipt 1: the memory has it",
        "gives back what it took with receipt 1",
    ] {
        assert_eq!(text.matches(said).count(), 1, "{said}: {text}");
    }
    assert!(text.contains("refused: BusinessRule") && text.ends_with("The bank has taken 1 time and given back 1 time.\n"), "{text}");
    Ok(())
}

#[test]
fn an_order_that_is_open_meets_three_deploys() -> Outcome {
    let text = tell("versioning", &[])?;
    let advice: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("what may be done: ")).collect();
    assert_eq!(advice, ["Keep", "Deprecate", "Remove"], "{text}");
    for said in ["old: shipped", "new: checked, shipped", "newest: checked, shipped", "V2: checked, packed, shipped"] {
        assert!(text.lines().any(|line| line.trim() == said), "{said}: {text}");
    }
    assert!(text.ends_with("the order of build 1 is reserved, shipped; that of build 2 is booked, shipped.\n"), "{text}");
    Ok(())
}

#[test]
fn many_items_are_done_and_counted() -> Outcome {
    let text = tell("fan_out", &["--children", "4", "--items", "30", "--batch", "4", "--running-children", "2"])?;
    assert!(text.contains("All 120 items are done"), "{text}");
    assert!(text.contains(" s  children: "), "no progress is told: {text}");
    let events = text.split("longest history  ").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("no length")?;
    assert!(events.parse::<u32>()? < 100, "{text}");
    Ok(())
}
