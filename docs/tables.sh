#!/bin/sh
# Makes the tables of evaluation.md and methods.md again: `make tables DATA=DIR`. Killed, it goes on where it was; what is
# finished is not measured twice. CASES and WEIGHTS say how many cases are asked of the memory and of methods that change
# weights, SIZES and LARGEST how many edits are in force at once; SIXTH is a sixth of the width of the pocket model's MLP.
set -eu
: "${DATA:?the folder of the datasets, as in make tables DATA=DIR}"
RUNS=${RUNS:-runs/tables} CASES=${CASES:-500} WEIGHTS=${WEIGHTS:-100} MODEL=${MODEL:-pocket} JOBS=${JOBS:-1}
SIZES=${SIZES:-1 10 100 1000} LOADED=${LOADED:-1000} LARGEST=${LARGEST:-10000} SIXTH=${SIXTH:-170}
CHANGING=${CHANGING:-fine_tune,ft_l,ft_m,lora,rome,r_rome,memit,pmet,emmet,alphaedit,kn}
ANSWERING=base,memory,memory:ike,memory:counterfactual,memory:verbatim

measure() { # name, then what eval takes
    name=$1
    shift
    memedit eval --data "$DATA" --model "$MODEL" --jobs "$JOBS" --out "$RUNS/$name" "$@"
}

gate() { # name, then what bench scope takes
    name=$1
    shift
    if [ ! -f "$RUNS/$name.json" ]; then
        memedit bench scope --data "$DATA" --scope two_stage --untrained --sample "$CASES" --json "$@" > "$RUNS/$name.part"
        mv "$RUNS/$name.part" "$RUNS/$name.json"
    fi
}

least() { # the smaller of two numbers
    if [ "$1" -lt "$2" ]; then echo "$1"; else echo "$2"; fi
}

mkdir -p "$RUNS"
measure loaded-counterfact --method memory,base --protocol loaded --edits "$LOADED" --cases "$(least "$CASES" "$LOADED")"
# Most of zsRE's subjects trained the gate: those are loaded and not asked about. 349 did not.
measure loaded-zsre --method memory,base --dataset zsre:portability+train --protocol loaded --edits "$LOADED" \
    --cases "$(least "$CASES" $((LOADED / 4)))" --untrained
measure single-counterfact --method $ANSWERING --protocol single --cases "$CASES" --side-effects 0
measure single-zsre --method $ANSWERING --dataset zsre:portability+train --protocol single --untrained \
    --cases "$(least "$CASES" 349)" --side-effects 0
measure weights-counterfact --method "base,$CHANGING" --protocol single --cases "$WEIGHTS" --side-effects 0
measure weights-rome --method base,rome --protocol single --cases "$((3 * WEIGHTS))" --side-effects 0

# Both published parts together have 13,031 subjects, enough for the largest memory.
for edits in $SIZES $LARGEST; do
    measure "growth-counterfact-$edits" --method memory --dataset counterfact:edit+train --protocol batch \
        --edits "$edits" --cases "$(least "$CASES" 200)" --side-effects 0
done

measure "batch-counterfact-$SIXTH" --method base,memit --protocol batch --edits "$SIXTH" \
    --cases "$(least "$WEIGHTS" "$SIXTH")" --side-effects 0
measure "sequential-counterfact-$SIXTH" --method base,rome,memit,alphaedit --protocol sequential --edits "$SIXTH" \
    --cases "$(least "$WEIGHTS" "$SIXTH")" --side-effects 0
# Batches come one after another until all cases are asked; of a sequence there is one, so that a short one says little.
for edits in $SIZES; do
    measure "batch-counterfact-$edits" --method r_rome,memit,emmet,alphaedit --protocol batch --edits "$edits" \
        --cases "$WEIGHTS" --side-effects 20
    measure "sequential-counterfact-$edits" --method r_rome,memit,emmet,alphaedit --protocol sequential \
        --edits "$edits" --cases "$(least "$WEIGHTS" "$edits")" --side-effects 20
done

gate gate
gate gate-growth --dataset counterfact --edits "$(echo $SIZES $LARGEST | tr ' ' ,)"
memedit report "$RUNS" --scope "$RUNS/gate.json" --markdown "$RUNS/tables.md" --html "$RUNS/tables.html" \
    --csv "$RUNS/tables.csv"
