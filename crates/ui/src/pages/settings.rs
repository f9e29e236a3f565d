//! How things look in this browser, and its codec server. Kept in cookies.

use maud::html;

use crate::{
    answer::{keeps_secrets, origin, prefer, redirect},
    layout::{Page, Section, check_field, select_field, text_field},
    route::Answer,
    show::TimeStyle,
    visit::{Problem, Visit},
};

/// The form.
pub(crate) fn page(visit: &Visit) -> Answer {
    let styles = TimeStyle::ALL.map(|(_, name, text)| (name, text));
    let style = TimeStyle::ALL.iter().find(|(style, _, _)| *style == visit.times.style).map_or("", |(_, name, _)| *name);
    let own = visit.cookie("sempre_codec");
    let given = visit.ui.0.settings.codec_endpoint.as_deref();
    let zone = visit.times.zone.iana_name().unwrap_or("UTC");
    let body = html! {
        form.form.page-form method="post" action=(visit.link(&["settings"])) {
            h1 { "Settings" }
            p.muted { "They are kept in this browser." }
            (visit.token_field())
            input type="hidden" name="back" value=(visit.query("back"));
            fieldset { legend { "Looks" }
                (select_field("theme", "Colours", visit.cookie("sempre_theme"), &[("", "As the system has them"), ("light", "Light"), ("dark", "Dark")]))
                (select_field("times", "Times in lists", style, &styles))
                p.hint { "Your time zone is " strong { (zone) } ", as your browser says." }
            }
            fieldset { legend { "Codec server" }
                p.hint { "Payloads that are encrypted or compressed are sent from your browser to this server to be decoded. Inputs, arguments and results that you write into forms are sent there first, and Sempre gets what it makes of them; messages of failures go as they are written." }
                (text_field("codec", "URL", own, given.map_or("Such as http://localhost:8081; {namespace} stands for the namespace. Empty: none.", |_| "Empty: the one below.")))
                @if let Some(given) = given { p.hint { "The server's setting is " code { (given) } "." } }
                (check_field("credentials", "Send cookies along", !visit.cookie("sempre_codec_credentials").is_empty()))
                @if given.is_some_and(keeps_secrets) {
                    (check_field("token", "Pass the access token", !visit.cookie("sempre_codec_token").is_empty()))
                    p.hint { "The bearer token that your browser's requests to Sempre carry (as a proxy in front of it adds one): only to the codec server of the server's setting." }
                }
            }
            div.form-end { button.primary type="submit" { "Save" } a.button href=(back(visit, visit.query("back"))) { "Do nothing" } }
        }
    };
    Ok(Page::new("", Section::Settings, "Settings", body).answer(visit))
}

/// Saves them.
pub(crate) fn save(visit: &Visit) -> Answer {
    let codec = visit.field("codec");
    if !codec.is_empty() && origin(codec).is_none() {
        return Err(Problem::invalid(format!("{codec:?} is not an http or https URL, so nothing was saved.")));
    }
    if visit.is_set("token") {
        may_have_the_token(visit, codec)?;
    }
    let to = back(visit, visit.field("back"));
    let mut answer = redirect(&format!("{to}{}done=settings", if to.contains('?') { '&' } else { '?' }));
    prefer(&mut answer, "sempre_theme", visit.field("theme"));
    prefer(&mut answer, "sempre_times", visit.field("times"));
    prefer(&mut answer, "sempre_codec", codec);
    prefer(&mut answer, "sempre_codec_credentials", visit.field("credentials"));
    prefer(&mut answer, "sempre_codec_token", visit.field("token"));
    Ok(answer)
}

/// The access token goes to the codec server of the server's setting only, and only where nobody reads it on the way.
fn may_have_the_token(visit: &Visit, codec: &str) -> Result<(), Problem> {
    let Some(given) = visit.ui.0.settings.codec_endpoint.as_deref().filter(|given| codec.is_empty() || codec == *given) else {
        return Err(Problem::invalid(
            "An access token is passed to the codec server of the server's setting only, not to one of your own, so nothing was saved.",
        ));
    };
    if !keeps_secrets(given) {
        return Err(Problem::invalid(format!(
            "{given:?} is not an https URL: an access token could be read on the way there, so nothing was saved."
        )));
    }
    Ok(())
}

/// A path of this server; anything else is the first page.
fn back(visit: &Visit, to: &str) -> String {
    let ours = to.starts_with('/') && !to.starts_with("//") && !to.contains('\\') && !to.contains(char::is_control);
    let base = &visit.ui.0.settings.public_path;
    if ours && to.starts_with(base.as_str()) { to.to_owned() } else { visit.link(&[]) }
}
