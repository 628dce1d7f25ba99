;; Tries: to jump over the end of the stack with frames of many values
;; Stopped by: the check of the stack at the entry of every function
(component
  (core module $m
    (func $deeper (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
      (call $deeper
        (i64.add (local.get 0) (i64.const 1)) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7)
        (local.get 8) (local.get 9) (local.get 10) (local.get 11) (local.get 12) (local.get 13) (local.get 14) (local.get 15)
        (local.get 16) (local.get 17) (local.get 18) (local.get 19) (local.get 20) (local.get 21) (local.get 22) (local.get 23)
        (local.get 24) (local.get 25) (local.get 26) (local.get 27) (local.get 28) (local.get 29) (local.get 30) (local.get 31))
      ;; All of them are needed after the call.
      (i64.mul (local.get 0)) (i64.mul (local.get 1)) (i64.mul (local.get 2)) (i64.mul (local.get 3)) (i64.mul (local.get 4)) (i64.mul (local.get 5)) (i64.mul (local.get 6)) (i64.mul (local.get 7))
      (i64.mul (local.get 8)) (i64.mul (local.get 9)) (i64.mul (local.get 10)) (i64.mul (local.get 11)) (i64.mul (local.get 12)) (i64.mul (local.get 13)) (i64.mul (local.get 14)) (i64.mul (local.get 15))
      (i64.mul (local.get 16)) (i64.mul (local.get 17)) (i64.mul (local.get 18)) (i64.mul (local.get 19)) (i64.mul (local.get 20)) (i64.mul (local.get 21)) (i64.mul (local.get 22)) (i64.mul (local.get 23))
      (i64.mul (local.get 24)) (i64.mul (local.get 25)) (i64.mul (local.get 26)) (i64.mul (local.get 27)) (i64.mul (local.get 28)) (i64.mul (local.get 29)) (i64.mul (local.get 30)) (i64.mul (local.get 31)))
    (func (export "run") (result i32)
      (drop (call $deeper
        (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7)
        (i64.const 8) (i64.const 9) (i64.const 10) (i64.const 11) (i64.const 12) (i64.const 13) (i64.const 14) (i64.const 15)
        (i64.const 16) (i64.const 17) (i64.const 18) (i64.const 19) (i64.const 20) (i64.const 21) (i64.const 22) (i64.const 23)
        (i64.const 24) (i64.const 25) (i64.const 26) (i64.const 27) (i64.const 28) (i64.const 29) (i64.const 30) (i64.const 31)))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
