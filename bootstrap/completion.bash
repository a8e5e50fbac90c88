# bash completion for NAME, written by "NAME completion bash". It needs nothing beside bash 4.4.
_NAME() {
  local program line=${COMP_LINE:0:COMP_POINT} piece gap cur value flag kept breaks out directive candidate kind=-f n=0
  local -a words=() args=()
  # bash cuts words at = and :, which values may contain. Pieces without a gap between them are one word.
  for piece in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    gap=${line%%[![:space:]]*}
    line=${line#"$gap"}
    piece=${line:0:${#piece}}
    line=${line:${#piece}}
    if ((n > 0)) && [[ -z $gap ]]; then
      words[n - 1]+=$piece
    else
      words[n++]=$piece
    fi
  done
  # Nothing that was typed is evaluated: quotes are taken out, and no more.
  for piece in "${words[@]:1}"; do
    args+=("${piece//[\"\'\\]/}")
  done
  cur=${args[n - 2]} value=$cur
  if [[ $cur == -*=* ]]; then
    flag=${cur%%=*}= value=${cur#*=}
  fi
  [[ $COMP_WORDBREAKS == *=* ]] && breaks+==
  [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
  [[ -n $breaks ]] && kept=${cur%"${cur##*[$breaks]}"} # stays as it is on the line

  # The program in PATH comes first: the typed one may be another's of the same name.
  program=$(type -P NAME) || program=${words[0]/#\~\//"$HOME"/}
  out=$("$program" __completeNoDesc "${args[@]}" 2>/dev/null) || return
  directive=${out##*:} out=${out%:*}
  COMPREPLY=()
  while IFS= read -r candidate; do
    if [[ -n $candidate && $candidate == "$value"* ]] && ((!(directive & 16))); then
      printf -v candidate %q "$candidate" # a file's name may hold anything
      candidate=$flag$candidate
      COMPREPLY+=("${candidate#"$kept"}")
    fi
  done <<<"$out"
  ((directive & 2)) && compopt -o nospace 2>/dev/null
  if ((${#COMPREPLY[@]} == 0 && !(directive & 5))); then
    ((directive & 16)) && kind=-d
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$kind" -- "$value")
    [[ -z $kept && -n $flag ]] && COMPREPLY=("${COMPREPLY[@]/#/$flag}")
  fi
  return 0
}
complete -F _NAME NAME
