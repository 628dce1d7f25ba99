use serde_json::{Value, json};

use super::*;

fn check(ty: WitType, value: Value) -> Result<WitValue, String> {
    let signature = Signature { params: vec![("x".to_owned(), ty)], result: None };
    match signature.read(&json!({ "x": value })) {
        Ok(mut values) => Ok(values.remove(0)),
        Err(error) => Err(error.to_string()),
    }
}

fn refused(ty: WitType, value: Value) -> String {
    check(ty, value).unwrap_err()
}

fn written(ty: &WitType, value: &WitValue) -> String {
    let (json, bytes) = ty.write(value, 1 << 20).unwrap();
    let text = json.to_string();
    assert_eq!(bytes, text.len() as u64, "{text}");
    text
}

/// Reads `json` and writes it again: as it was, or as `canonical`.
#[track_caller]
fn round_trip(ty: WitType, json: Value, canonical: &str) {
    let value = check(ty.clone(), json).unwrap();
    assert_eq!(written(&ty, &value), canonical);
}

fn list(ty: WitType) -> WitType {
    WitType::List(Box::new(ty))
}

fn option(ty: WitType) -> WitType {
    WitType::Option(Box::new(ty))
}

fn record(fields: &[(&str, WitType)]) -> WitType {
    WitType::Record(fields.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn shape() -> WitType {
    WitType::Variant(vec![("nothing".to_owned(), None), ("circle".to_owned(), Some(WitType::F64)), ("maybe".to_owned(), Some(option(WitType::U8)))])
}

fn result(ok: Option<WitType>, err: Option<WitType>) -> WitType {
    WitType::Result { ok: ok.map(Box::new), err: err.map(Box::new) }
}

/// What the module's text shows.
fn report() -> Signature {
    let filter = record(&[("days", list(WitType::U16)), ("small", list(WitType::S8)), ("limit", option(WitType::U32))]);
    Signature { params: vec![("filter".to_owned(), filter), ("title".to_owned(), WitType::String)], result: Some(result(Some(WitType::U32), None)) }
}

#[test]
fn integers_are_numbers_within_their_range() {
    for (ty, least, most) in [
        (WitType::S8, json!(-128), json!(127)),
        (WitType::U8, json!(0), json!(255)),
        (WitType::S16, json!(-32768), json!(32767)),
        (WitType::U16, json!(0), json!(65535)),
        (WitType::S32, json!(-2147483648), json!(2147483647)),
        (WitType::U32, json!(0), json!(4294967295u32)),
    ] {
        round_trip(ty.clone(), least.clone(), &least.to_string());
        round_trip(ty.clone(), most.clone(), &most.to_string());
        let (least, most) = (least.as_i64().unwrap(), most.as_i64().unwrap());
        for outside in [least - 1, most + 1] {
            assert_eq!(refused(ty.clone(), json!(outside)), format!("args.x: {outside} does not fit {ty} ({least} to {most})"));
        }
    }
}

#[test]
fn integers_of_64_bits_are_strings_where_a_double_would_round_them() {
    round_trip(WitType::U64, json!(9_007_199_254_740_991u64), "9007199254740991");
    round_trip(WitType::U64, json!(9_007_199_254_740_992u64), r#""9007199254740992""#);
    round_trip(WitType::U64, json!(u64::MAX), r#""18446744073709551615""#);
    round_trip(WitType::U64, json!("18446744073709551615"), r#""18446744073709551615""#);
    round_trip(WitType::S64, json!(i64::MIN), r#""-9223372036854775808""#);
    round_trip(WitType::S64, json!("-5"), "-5");
    assert_eq!(refused(WitType::U64, json!("18446744073709551616")), "args.x: 18446744073709551616 does not fit u64 (0 to 18446744073709551615)");
    assert!(refused(WitType::U64, json!(1e20)).contains("does not fit u64 (0 to"));
    assert!(refused(WitType::S64, json!("9".repeat(25))).contains("does not fit s64"));
}

#[test]
fn digits_in_a_string_are_for_64_bits_only_and_must_be_plain() {
    for bad in ["", "-", "+1", "01", "-0", " 1", "1.0", "1e3", "0x1", "١"] {
        assert!(refused(WitType::S64, json!(bad)).contains("expected a whole number"), "{bad:?}");
    }
    assert_eq!(refused(WitType::U32, json!("5")), r#"args.x: "5" does not fit u32: expected a whole number from 0 to 4294967295"#);
}

#[test]
fn a_number_with_a_point_is_whole_when_nothing_stands_behind_it() {
    round_trip(WitType::U8, json!(5.0), "5");
    round_trip(WitType::S8, json!(-0.0), "0");
    assert!(refused(WitType::U8, json!(5.5)).contains("5.5 does not fit u8: expected a whole number"));
    assert!(refused(WitType::U8, json!(1e300)).contains("does not fit u8 (0 to 255)"));
}

#[test]
fn floats_are_numbers_or_the_names_of_what_json_has_no_number_for() {
    round_trip(WitType::F64, json!(0.1), "0.1");
    round_trip(WitType::F64, json!(3), "3.0");
    round_trip(WitType::F64, json!("-Infinity"), r#""-Infinity""#);
    round_trip(WitType::F64, json!("NaN"), r#""NaN""#);
    round_trip(WitType::F64, json!(-0.0), "-0.0");
    assert_eq!(refused(WitType::F64, json!("inf")), r#"args.x: "inf" does not fit f64: expected a number, or "NaN", "Infinity", "-Infinity""#);
}

#[test]
fn an_f32_is_written_with_the_digits_that_name_it() {
    round_trip(WitType::F32, json!(0.1), "0.1");
    round_trip(WitType::F32, json!(16777217), "16777216.0");
    round_trip(WitType::F32, json!("Infinity"), r#""Infinity""#);
    assert_eq!(refused(WitType::F32, json!(1e300)), "args.x: 1e+300 is too large for f32");
}

#[test]
fn a_char_is_a_string_of_one() {
    round_trip(WitType::Char, json!("é"), r#""é""#);
    round_trip(WitType::Char, json!("\u{1F980}"), "\"\u{1F980}\"");
    assert_eq!(refused(WitType::Char, json!("")), r#"args.x: "" has 0 characters, but a char is exactly one"#);
    assert_eq!(refused(WitType::Char, json!("ab")), r#"args.x: "ab" has 2 characters, but a char is exactly one"#);
    assert!(refused(WitType::Char, json!(7)).contains("expected a string of one character"));
}

#[test]
fn bools_and_strings_are_themselves() {
    round_trip(WitType::Bool, json!(true), "true");
    round_trip(WitType::String, json!("a\"\n\u{1}é"), r#""a\"\n\u0001é""#);
    assert_eq!(refused(WitType::Bool, json!("true")), r#"args.x: "true" does not fit bool: expected true or false"#);
    assert_eq!(refused(WitType::String, json!(null)), "args.x: null does not fit string: expected a string");
}

#[test]
fn a_list_of_bytes_is_base64_or_an_array_and_base64_as_a_result() {
    round_trip(list(WitType::U8), json!([104, 105, 255]), r#""aGn/""#);
    round_trip(list(WitType::U8), json!("aGk="), r#""aGk=""#);
    round_trip(list(WitType::U8), json!("aGk"), r#""aGk=""#);
    round_trip(list(WitType::U8), json!([]), r#""""#);
    assert!(refused(list(WitType::U8), json!("a!==")).starts_with("args.x: not base64: "));
    assert_eq!(refused(list(WitType::U8), json!([1, 256])), "args.x[1]: 256 does not fit u8 (0 to 255)");
}

#[test]
fn any_other_list_is_an_array() {
    round_trip(list(WitType::S8), json!([1, -1]), "[1,-1]");
    round_trip(list(list(WitType::String)), json!([[], ["a"]]), r#"[[],["a"]]"#);
    assert_eq!(refused(list(WitType::S8), json!("AQ==")), r#"args.x: "AQ==" does not fit list<s8>: expected an array"#);
}

#[test]
fn a_tuple_is_an_array_of_its_length() {
    let pair = WitType::Tuple(vec![WitType::U8, WitType::String]);
    round_trip(pair.clone(), json!([1, "a"]), r#"[1,"a"]"#);
    assert_eq!(refused(pair.clone(), json!([1])), "args.x: 1 values were given, but tuple<u8, string> has 2");
    assert_eq!(refused(pair, json!([1, 2])), "args.x[1]: 2 does not fit string: expected a string");
}

#[test]
fn a_record_is_an_object_and_its_options_may_be_left_out() {
    let point = record(&[("x-axis", WitType::S32), ("label", option(WitType::String))]);
    round_trip(point.clone(), json!({ "x-axis": 1 }), r#"{"label":null,"x-axis":1}"#);
    round_trip(point.clone(), json!({ "x-axis": 1, "label": "a" }), r#"{"label":"a","x-axis":1}"#);
    assert_eq!(refused(point.clone(), json!({})), "args.x: missing x-axis: s32");
    assert_eq!(refused(point.clone(), json!({ "x_axis": 1 })), r#"args.x: unknown field "x_axis" (did you mean x-axis?)"#);
    assert_eq!(refused(point.clone(), json!({ "x-axis": 1, "zoom": 1 })), r#"args.x: unknown field "zoom" (there is x-axis, label)"#);
    assert_eq!(refused(point, json!([1])), "args.x: an array does not fit record { x-axis: s32, label: option<string> }: expected an object");
}

#[test]
fn a_variant_is_its_case_or_an_object_with_its_payload() {
    round_trip(shape(), json!("nothing"), r#""nothing""#);
    round_trip(shape(), json!({ "circle": 1.5 }), r#"{"circle":1.5}"#);
    round_trip(shape(), json!({ "maybe": null }), r#"{"maybe":null}"#);
    assert_eq!(refused(shape(), json!("circel")), r#"args.x: unknown case "circel" (did you mean circle?)"#);
    assert_eq!(refused(shape(), json!("circle")), r#"args.x: case "circle" carries f64: write {"circle": …}"#);
    assert_eq!(refused(shape(), json!({ "nothing": null })), r#"args.x: case "nothing" carries nothing: write "nothing""#);
    assert_eq!(refused(shape(), json!({ "circle": "a" })), r#"args.x.circle: "a" does not fit f64: expected a number, or "NaN", "Infinity", "-Infinity""#);
    assert_eq!(refused(shape(), json!({ "circle": 1, "maybe": 1 })), "args.x: expected an object of exactly one field, but it has 2");
    assert_eq!(refused(shape(), json!(5)).split(": expected ").nth(1), Some(r#"one of "nothing", {"circle": …}, {"maybe": …}"#));
}

#[test]
fn an_enum_is_its_case() {
    let colour = WitType::Enum(names(&["red", "dark-blue"]));
    round_trip(colour.clone(), json!("dark-blue"), r#""dark-blue""#);
    assert_eq!(refused(colour.clone(), json!("Red")), r#"args.x: unknown case "Red" (did you mean red?)"#);
    assert_eq!(refused(colour, json!(0)), r#"args.x: 0 does not fit enum { red, dark-blue }: expected one of "red", "dark-blue""#);
}

#[test]
fn of_many_cases_each_is_found() {
    let many = names(&(0..1000).map(|i| format!("case-{i}")).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>());
    round_trip(list(WitType::Enum(many.clone())), json!(["case-0", "case-999", "case-17"]), r#"["case-0","case-999","case-17"]"#);
    let variant = WitType::Variant(many.iter().map(|name| (name.clone(), Some(WitType::U8))).collect());
    round_trip(list(variant), json!([{ "case-999": 1 }, { "case-1": 2 }]), r#"[{"case-999":1},{"case-1":2}]"#);
    assert!(refused(WitType::Enum(many), json!("case-1000")).contains("did you mean case-100?"));
}

#[test]
fn an_option_is_its_value_or_null() {
    round_trip(option(WitType::U8), json!(null), "null");
    round_trip(option(WitType::U8), json!(7), "7");
    assert_eq!(refused(option(WitType::U8), json!(-7)), "args.x: -7 does not fit u8 (0 to 255)");
}

#[test]
fn an_option_in_an_option_tells_none_from_some_none() {
    let nested = option(option(WitType::U8));
    round_trip(nested.clone(), json!(null), "null");
    round_trip(nested.clone(), json!({ "some": null }), r#"{"some":null}"#);
    round_trip(nested.clone(), json!({ "some": 5 }), r#"{"some":5}"#);
    assert_eq!(refused(nested.clone(), json!(5)), r#"args.x: 5 does not fit option<option<u8>>: expected null, or {"some": …}"#);
    assert_eq!(refused(nested, json!({ "some": 300 })), "args.x.some: 300 does not fit u8 (0 to 255)");
}

#[test]
fn a_result_is_an_object_of_ok_or_err() {
    let full = result(Some(WitType::U8), Some(WitType::String));
    round_trip(full.clone(), json!({ "ok": 1 }), r#"{"ok":1}"#);
    round_trip(full.clone(), json!({ "err": "no" }), r#"{"err":"no"}"#);
    round_trip(result(None, None), json!({ "ok": null }), r#"{"ok":null}"#);
    round_trip(result(None, None), json!({ "err": null }), r#"{"err":null}"#);
    assert_eq!(refused(full.clone(), json!({ "ok": 256 })), "args.x.ok: 256 does not fit u8 (0 to 255)");
    assert!(refused(full, json!("ok")).ends_with(r#"expected {"ok": …} or {"err": …}"#));
    assert_eq!(refused(result(None, None), json!({ "ok": 1 })), "args.x.ok: 1 does not fit a payload that carries nothing: expected null");
}

#[test]
fn flags_are_an_array_of_names_written_in_their_order() {
    let rights = WitType::Flags(names(&["read", "write", "run-it"]));
    round_trip(rights.clone(), json!(["run-it", "read"]), r#"["read","run-it"]"#);
    round_trip(rights.clone(), json!([]), "[]");
    assert_eq!(refused(rights.clone(), json!(["read", "read"])), r#"args.x[1]: flag "read" is given twice"#);
    assert_eq!(refused(rights.clone(), json!(["wirte"])), r#"args.x[0]: unknown flag "wirte" (did you mean write?)"#);
    assert_eq!(refused(rights, json!({ "read": true })), "args.x: an object does not fit flags { read, write, run-it }: expected an array of names");
}

#[test]
fn an_error_names_the_place() {
    let wrong = |args: Value| report().check(&args).unwrap_err().to_string();
    let with = |days: Value| json!({ "filter": { "days": days, "small": [] }, "title": "t" });
    assert_eq!(wrong(with(json!([1, 2, 70000]))), "args.filter.days[2]: 70000 does not fit u16 (0 to 65535)");
    assert_eq!(wrong(json!({ "filter": { "dayz": [], "small": [] }, "title": "t" })), r#"args.filter: unknown field "dayz" (did you mean days?)"#);
    assert_eq!(wrong(json!({ "title": "t" })), "args: missing filter: record { days: list<u16>, small: list<s8>, limit: option<u32…");
    assert_eq!(wrong(json!({ "filter": {}, "title": "t" })), "args.filter: missing days: list<u16>, small: list<s8>");
    assert_eq!(wrong(json!({ "filter": {}, "titel": "t" })), r#"args: unknown parameter "titel" (did you mean title?)"#);
    assert_eq!(wrong(json!("t")), r#"args: "t" does not fit a list of arguments: expected an object by parameter name, or an array by position"#);
}

#[test]
fn arguments_may_be_given_by_position() {
    let signature = Signature {
        params: vec![("day".to_owned(), WitType::String), ("limit".to_owned(), option(WitType::U8)), ("dry".to_owned(), option(WitType::Bool))],
        result: None,
    };
    let none = || WitValue::Option(None);
    assert_eq!(signature.read(&json!(["monday"])).unwrap(), [WitValue::String("monday".to_owned()), none(), none()]);
    assert_eq!(signature.read(&json!(["monday", null, true])).unwrap()[2], WitValue::Option(Some(Box::new(WitValue::Bool(true)))));
    let wrong = |args: Value| signature.check(&args).unwrap_err().to_string();
    assert_eq!(wrong(json!([])), "args: missing day: string");
    assert_eq!(wrong(json!(["monday", 256])), "args[1]: 256 does not fit u8 (0 to 255)");
    assert_eq!(wrong(json!(["monday", 1, true, 4])), "args: 4 values were given, but the function has day, limit, dry");
}

#[test]
fn no_arguments_are_enough_where_every_parameter_is_optional() {
    let signature = |ty| Signature { params: vec![("limit".to_owned(), ty)], result: None };
    assert_eq!(signature(option(WitType::U8)).check(&Value::Null), Ok(()));
    assert_eq!(signature(WitType::U8).check(&Value::Null).unwrap_err().to_string(), "args: missing limit: u8");
    assert_eq!(Signature::default().check(&Value::Null), Ok(()));
    assert_eq!(Signature::default().check(&json!([1])).unwrap_err().to_string(), "args: 1 values were given, but the function has no parameters");
    assert_eq!(Signature::default().check(&json!({ "a": 1 })).unwrap_err().to_string(), r#"args: unknown parameter "a" (there is none)"#);
}

#[test]
fn what_was_typed_is_cut_in_a_message() {
    let long = "x".repeat(10_000);
    for (ty, value) in [
        (WitType::Bool, json!(long)),
        (WitType::Enum(names(&["a"])), json!(long)),
        (record(&[(&long, WitType::U8)]), json!({ &long[1..]: 1 })),
        (WitType::S64, json!("9".repeat(10_000))),
        (WitType::Enum((0..1000).map(|i| format!("case-{i}")).collect()), json!("no-such")),
    ] {
        let message = refused(ty, value);
        assert!(message.len() < 1_500, "{} bytes: {message}", message.len());
    }
}

#[test]
fn types_without_a_json_form_are_refused_by_name() {
    let signature = Signature { params: vec![], result: Some(list(WitType::Unsupported("a resource".to_owned()))) };
    assert_eq!(signature.obstacle(), Some("a resource"));
    assert_eq!(refused(WitType::Unsupported("a stream".to_owned()), json!(1)), "args.x: a stream cannot be given in JSON");
    assert_eq!(report().obstacle(), None);
}

#[test]
fn a_signature_reads_as_wit() {
    assert_eq!(report().to_string(), "func(filter: record { days: list<u16>, small: list<s8>, limit: option<u32> }, title: string) -> result<u32>");
    assert_eq!(shape().to_string(), "variant { nothing, circle(f64), maybe(option<u8>) }");
    assert_eq!(result(None, Some(WitType::Char)).to_string(), "result<_, char>");
}

#[test]
fn a_signature_survives_being_stored_even_as_deep_as_it_may_be() {
    let deep = (1..DEPTH_MAX).fold(WitType::U8, |ty, _| record(&[("field", ty)]));
    for signature in [report(), Signature { params: vec![("x".to_owned(), deep)], result: Some(shape()) }] {
        // As it stands in an inspection, among a component's entries.
        let text = json!({ "entries": [{ "types": signature }] }).to_string();
        let stored: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_value::<Signature>(stored["entries"][0]["types"].clone()).unwrap(), signature);
    }
}

#[test]
fn a_short_text_cannot_ask_for_a_long_value() {
    let options: Vec<_> = (0..1000).map(|i| (format!("f{i}"), option(WitType::U64))).collect();
    let objects = Value::Array(vec![json!({}); 10_000]);
    assert_eq!(refused(list(WitType::Record(options)), objects), "args.x[559]: the arguments take more than 32MiB once converted");
    assert!(check(list(WitType::U8), json!("AAAA".repeat(1 << 18))).is_ok());
    assert!(refused(list(WitType::U8), json!("AAAA".repeat(1 << 19))).contains("more than 32MiB"));
}

#[test]
fn a_deep_text_is_read_no_deeper_than_its_type() {
    let mut deep = json!([]);
    for _ in 0..1_000 {
        deep = Value::Array(vec![deep]);
    }
    assert_eq!(refused(list(list(WitType::U16)), deep), "args.x[0][0]: an array does not fit u16: expected a whole number from 0 to 65535");
}

#[test]
fn a_result_is_written_up_to_its_limit_and_not_a_byte_further() {
    for (ty, value, text) in [
        (WitType::String, WitValue::String("a\"\u{1}".to_owned()), r#""a\"\u0001""#),
        (list(WitType::U8), WitValue::Bytes(vec![0; 5]), r#""AAAAAAA=""#),
        (list(WitType::Bool), WitValue::List(vec![WitValue::Bool(false), WitValue::Bool(true)]), "[false,true]"),
        (shape(), WitValue::Case(1, Some(Box::new(WitValue::F64(0.5)))), r#"{"circle":0.5}"#),
    ] {
        let bytes = text.len() as u64;
        assert_eq!(ty.write(&value, bytes).map(|(json, bytes)| (json.to_string(), bytes)), Ok((text.to_owned(), bytes)));
        assert_eq!(ty.write(&value, bytes - 1), Err(ResultTooLarge { max: bytes - 1 }));
    }
}

#[test]
fn the_schema_says_what_the_forms_are() {
    let schema = report().json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], json!(["filter", "title"]));
    assert_eq!(schema["additionalProperties"], false);
    let filter = &schema["properties"]["filter"];
    assert_eq!(filter["required"], json!(["days", "small"]));
    assert_eq!(filter["properties"]["days"], json!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 65535 } }));
    assert_eq!(filter["properties"]["limit"], json!({ "anyOf": [{ "type": "null" }, { "type": "integer", "minimum": 0, "maximum": 4294967295u32 }] }));
    let shape = shape().json_schema();
    assert_eq!(shape["oneOf"][0], json!({ "const": "nothing" }));
    assert_eq!(shape["oneOf"][1]["required"], json!(["circle"]));
    assert_eq!(WitType::U64.json_schema()["anyOf"][0]["maximum"], u64::MAX);
}
