"""The completion scripts of `nitro completion`. What they ask, and what they are answered, is in completion.py."""

# Bash splits words at COMP_WORDBREAKS, to which : and = belong, and replaces the last piece. compopt: since 4.0.
BASH = r"""
_nitro() {
    local piece=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT} before= kind value help quoted
    [[ $piece == [:=] ]] && piece=
    COMPREPLY=()
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            word) [[ $value == *"$piece" ]] && before=${value%"$piece"} ;;
            plain) printf -v quoted %q "${value#"$before"}"; COMPREPLY+=("$quoted") ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <("$1" completion bash --answer "$line" 2>/dev/null)
}
complete -o nosort -F _nitro nitro
"""

ZSH = r"""#compdef nitro
_nitro() {
    local kind value help wanted
    local -a offered
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            plain) offered+=("${value//:/\\:}:$help") ;;
            file|dir) wanted=$kind ;;
        esac
    done < <("${(Q)words[1]}" completion zsh --answer "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)
    compset -P '--*='
    (( $#offered )) && _describe -V nitro offered
    case $wanted in
        file) _files ;;
        dir) _files -/ ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _nitro "$@"
else
    compdef _nitro nitro
fi
"""

FISH = r"""
function __nitro_complete
    set -l token (commandline -ct)
    set -l before (string match -r -- '^--[^=]*=' $token)
    set -l name (commandline -opc)[1]
    for line in ($name completion fish --answer (commandline -cp | string collect) 2>/dev/null)
        set -l fields (string split \t -- $line)
        switch $fields[1]
            case plain
                printf '%s%s\t%s\n' "$before" $fields[2] "$fields[3]"
            case file dir
                set -l typed (string replace -- "$before" '' $token)
                for path in (__fish_complete_path "$typed")
                    printf '%s%s\n' "$before" $path
                end
        end
    end
end
complete -c nitro -e
complete -c nitro -f -a '(__nitro_complete)'
"""

SCRIPTS = {"bash": BASH.lstrip(), "zsh": ZSH, "fish": FISH.lstrip()}
