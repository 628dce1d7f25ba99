//! Whatever is typed, it is refused or it fires; nothing panics, and nothing that is refused is drawn without an end.

use bellcage::trigger::{Salt, TriggerSpec, parse_duration, parse_instant, parse_timezone};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{at, config};

const SALT: Salt<'static> = Salt { tenant: "default", job: "nightly" };

fn check(spec: TriggerSpec) -> Result<(), TestCaseError> {
    match spec.anchored(at(1_700_000_000)).compile(SALT) {
        Ok(trigger) => {
            for t in [Timestamp::MIN, at(0), at(1_800_000_000), Timestamp::MAX] {
                prop_assert!(trigger.next_after(t).is_none_or(|next| next > t));
                prop_assert!(trigger.last_at_or_before(t).is_none_or(|last| last <= t));
            }
            let count = trigger.count_between(at(0), at(1_800_000_000)).n;
            prop_assert!(count <= 18_000_000_000);
            prop_assert!(trigger.describe().len() < 20_000);
            prop_assert!(trigger.notes(at(1_700_000_000)).len() < 20);
        }
        Err(error) => {
            prop_assert!(!error.message.is_empty() && error.message.len() < 1_000);
            if let Some(span) = error.span {
                prop_assert!(span.caret().chars().count() < 1_000 && span.caret().contains('^'));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1_500))]
    #[test]
    fn any_text_is_refused_or_fires(text in "\\PC{0,60}") {
        check(TriggerSpec::cron(&text, None))?;
        check(TriggerSpec::cron("@daily", Some(&text)))?;
        check(TriggerSpec::every(&text, None))?;
        check(TriggerSpec::at(&text, Some("Europe/Berlin")))?;
        let _ = (parse_duration(&text).is_ok(), parse_instant(&text, None).is_ok(), parse_timezone(&text).is_ok());
        if let Ok(spec) = TriggerSpec::from_json(&text) {
            check(spec)?;
        }
    }

    #[test]
    fn any_mixture_of_what_expressions_are_made_of_is_refused_or_fires(text in "[0-9*/,\\-LWH#?()@ a-z]{0,40}", cron7 in any::<bool>()) {
        let spec = serde_json::json!({ "cron": text, "dialect": if cron7 { "cron7" } else { "unix" }, "timezone": "America/New_York" });
        check(TriggerSpec::from_value(&spec).unwrap())?;
    }

    #[test]
    fn five_to_seven_words_are_refused_or_fire(words in prop::collection::vec("(\\*|[0-9]{1,2}|[0-9]{1,2}-[0-9]{1,2}|\\*/[0-9]{1,3}|mon|jan|L|LW|[0-9]W|fri#[0-9]|H)(/[0-9]{1,2})?(,[0-9]{1,2}){0,2}", 5..=7), cron7 in any::<bool>()) {
        let spec = serde_json::json!({ "cron": words.join(" "), "dialect": if cron7 { "cron7" } else { "unix" } });
        check(TriggerSpec::from_value(&spec).unwrap())?;
    }

    #[test]
    fn any_fields_are_refused_or_fire(day in "(last|1st|2nd|[0-9]{1,2})?( (mon|fri|x))?(,[0-9]{1,2})?", hour in "[0-9*/,\\-]{1,6}", week in "[0-9*/,\\-]{1,6}") {
        check(TriggerSpec::from_value(&serde_json::json!({ "fields": { "day": day, "hour": hour, "week": week } })).unwrap())?;
    }
}

#[test]
fn long_lists_huge_numbers_and_long_texts_are_refused_or_cost_no_more_than_others() {
    for text in [
        "1,".repeat(100_000),
        "9".repeat(999),
        format!("{} * * * *", "0-59/1,".repeat(130) + "1"),
        format!("* * {} * *", "L-30,".repeat(190) + "L"),
        format!("* * * * {}", "fri#5,".repeat(160) + "fri#5"),
        "* ".repeat(50_000),
        "*/4294967295 * * * *".to_owned(),
        "4294967296 * * * *".to_owned(),
        "\0".repeat(10),
        "é".repeat(600),
        "0 0 29 2 mon#5".to_owned(),
    ] {
        check(TriggerSpec::cron(&text, None)).unwrap();
        check(TriggerSpec::from_value(&serde_json::json!({ "cron": text, "dialect": "cron7" })).unwrap()).unwrap();
        check(TriggerSpec::every(&text, None)).unwrap();
        check(TriggerSpec::cron("@daily", Some(&text))).unwrap();
    }
    let deep = "{\"any\":[".repeat(100_000);
    assert!(TriggerSpec::from_json(&deep).is_err());
}

#[test]
fn the_rarest_day_is_found_both_ways() {
    // 29 February on a fifth Sunday: every 28 years, 40 around 2100.
    let trigger = TriggerSpec::cron("0 0 29 2 */7", Some("UTC")).compile(SALT).unwrap();
    let t = "2088-03-01T00:00:00Z".parse().unwrap();
    let next = trigger.next_after(t).unwrap();
    assert_eq!(next.to_string(), "2128-02-29T00:00:00Z");
    assert_eq!(trigger.last_at_or_before(next - SignedDuration::from_secs(1)).unwrap().to_string(), "2088-02-29T00:00:00Z");
}
