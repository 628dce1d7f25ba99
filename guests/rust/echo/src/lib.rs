//! Gives back what it is given, for each kind of WIT type (wit/echo.wit): the host's conversion of values is tested on it.
use pthread_stubs as _;

wit_bindgen::generate!({ world: "echo" });

use exports::bellcage::echo::types::{Colour, Everything, Guest as Types, Many, Point, Rights, Shape};

struct Echo;

macro_rules! given_back {
    ($($name:ident: $t:ty),* $(,)?) => { $(fn $name(v: $t) -> $t { v })* };
}

macro_rules! given_back_in_a_tuple {
    ($($name:ident: $t:ty),* $(,)?) => { $(fn $name(v: $t) -> ($t,) { (v,) })* };
}

impl Types for Echo {
    given_back! {
        echo_bool: bool,
        echo_s8: i8,
        echo_u8: u8,
        echo_s16: i16,
        echo_u16: u16,
        echo_s32: i32,
        echo_u32: u32,
        echo_s64: i64,
        echo_u64: u64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,
        echo_bytes: Vec<u8>,
        echo_strings: Vec<String>,
        echo_bools: Vec<bool>,
        echo_numbers: Vec<i64>,
        echo_floats: Vec<f32>,
        echo_points: Vec<Point>,
        echo_lists: Vec<Vec<u16>>,
        echo_byte_lists: Vec<Vec<u8>>,
        echo_pair: (u8, String),
        echo_single: (String,),
        echo_triple: (i64, (bool, char), Vec<f64>),
        echo_point: Point,
        echo_everything: Everything,
        echo_shape: Shape,
        echo_shapes: Vec<Shape>,
        echo_colour: Colour,
        echo_rights: Rights,
        echo_many: Many,
        echo_option: Option<u32>,
        echo_option_string: Option<String>,
        echo_option_option: Option<Option<u32>>,
        echo_option_record: Option<Point>,
        echo_options: Vec<Option<bool>>,
        echo_results: Vec<Result<Point, Colour>>,
        echo_nested: Vec<(Option<Shape>, Result<Vec<Point>, Vec<Option<String>>>)>,
        return_result: Result<u32, String>,
        return_result_ok: Result<u32, ()>,
        return_result_err: Result<(), String>,
        return_result_empty: Result<(), ()>,
        return_result_rich: Result<Everything, Shape>,
    }

    given_back_in_a_tuple! {
        echo_result: Result<u32, String>,
        echo_result_ok: Result<u32, ()>,
        echo_result_err: Result<(), String>,
        echo_result_empty: Result<(), ()>,
    }

    fn echo_nothing() {}

    fn echo_many_parameters(
        first: u8,
        second_one: String,
        third: Option<Point>,
        fourth: Vec<u8>,
        fifth: Shape,
        sixth: Everything,
    ) -> (u8, String, Option<Point>, Vec<u8>, Shape, Everything) {
        (first, second_one, third, fourth, fifth, sixth)
    }
}

impl Guest for Echo {
    fn echo_root(text: String, times: u32) -> String {
        text.repeat(times as usize)
    }
}

export!(Echo);
