#!/bin/sh
# Makes the tables of evaluation.md and methods.md again: `make tables DATA=DIR`. Killed, it goes on where it was; what is
# finished is not measured twice. CASES and WEIGHTS say how many cases are asked of the memory and of methods that change
# weights; CounterFact's evaluation file has 6,628 subjects, so its largest memory is 6,000 edits.
set -eu
: "${DATA:?the folder of the datasets, as in make tables DATA=DIR}"
RUNS=${RUNS:-runs/tables} CASES=${CASES:-500} WEIGHTS=${WEIGHTS:-100} MODEL=${MODEL:-pocket} JOBS=${JOBS:-1}
CHANGING=${CHANGING:-fine_tune,ft_l,ft_m,lora,rome,r_rome,memit,pmet,emmet,alphaedit,kn}
ANSWERING=base,memory,memory:ike,memory:counterfactual,memory:verbatim

measure() { # name, then what eval takes
    name=$1
    shift
    memedit eval --data "$DATA" --model "$MODEL" --jobs "$JOBS" --out "$RUNS/$name" "$@"
}

measure loaded-counterfact --method memory,base --protocol loaded --edits 1000 --cases "$CASES"
measure loaded-zsre --method memory,base --dataset zsre:portability+train --protocol loaded --edits 1000 --cases 250 \
    --untrained
measure single-counterfact --method $ANSWERING --protocol single --cases "$CASES" --side-effects 0
measure weights-counterfact --method "$CHANGING" --protocol single --cases "$WEIGHTS" --side-effects 0
for edits in 1 10 100 1000; do
    measure growth-counterfact-$edits --method memory --protocol batch --edits $edits --cases 200 --side-effects 0
done
measure growth-counterfact-6000 --method memory --protocol loaded --edits 6000 --cases 200 --side-effects 0
for edits in 10 100 1000; do
    cases=$edits
    if [ "$cases" -gt "$WEIGHTS" ]; then cases=$WEIGHTS; fi
    for protocol in batch sequential; do
        measure $protocol-counterfact-$edits --method r_rome,memit,emmet,alphaedit --protocol $protocol --edits $edits \
            --cases "$cases" --side-effects 20
    done
done
memedit report "$RUNS"/* --markdown "$RUNS/tables.md" --html "$RUNS/tables.html" --csv "$RUNS/tables.csv"
