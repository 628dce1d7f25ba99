;; `valid: func(number: string) -> bool`: whether the digits of a card number have the right check digit. Spaces are skipped.
(component
  (core module $luhn
    (memory (export "memory") 1)
    ;; Where the next block begins. Nothing is ever freed: an instance serves one call.
    (global $free (mut i32) (i32.const 8))

    (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at
        (i32.and
          (i32.sub (i32.add (global.get $free) (local.get $align)) (i32.const 1))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $free (i32.add (local.get $at) (local.get $size)))
      ;; Pages up to the end of the block.
      (if (i32.gt_u (global.get $free) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (if (i32.eq
                (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))
                (i32.const -1))
            (then (unreachable)))))
      (local.get $at))

    ;; From the last digit on: each is added, every second one doubled (9 less when it is over 9).
    (func (export "valid") (param $text i32) (param $length i32) (result i32)
      (local $sum i32) (local $digits i32) (local $digit i32)
      (loop $next
        (if (local.get $length)
          (then
            (local.set $length (i32.sub (local.get $length) (i32.const 1)))
            (local.set $digit (i32.load8_u (i32.add (local.get $text) (local.get $length))))
            (br_if $next (i32.eq (local.get $digit) (i32.const 32)))
            (local.set $digit (i32.sub (local.get $digit) (i32.const 48)))
            (if (i32.gt_u (local.get $digit) (i32.const 9))
              (then (return (i32.const 0))))
            (local.set $digit (i32.shl (local.get $digit) (i32.and (local.get $digits) (i32.const 1))))
            (if (i32.gt_u (local.get $digit) (i32.const 9))
              (then (local.set $digit (i32.sub (local.get $digit) (i32.const 9)))))
            (local.set $sum (i32.add (local.get $sum) (local.get $digit)))
            (local.set $digits (i32.add (local.get $digits) (i32.const 1)))
            (br $next))))
      (i32.and
        (i32.gt_u (local.get $digits) (i32.const 1))
        (i32.eqz (i32.rem_u (local.get $sum) (i32.const 10))))))

  (core instance $core (instantiate $luhn))
  (alias core export $core "memory" (core memory $memory))
  (alias core export $core "cabi_realloc" (core func $realloc))
  (alias core export $core "valid" (core func $valid))
  (func (export "valid") (param "number" string) (result bool)
    (canon lift (core func $valid) (memory $memory) (realloc $realloc))))
