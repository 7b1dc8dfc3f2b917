process BIOMEFORMER_PHENOTYPE_EVALUATE {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "biomeformer:0.2.0"

    input:
    tuple val(meta), path(table)
    val target
    path metadata
    path species

    output:
    tuple val(meta), path("${prefix}/scores.csv")     , emit: scores
    tuple val(meta), path("${prefix}/predictions.csv"), emit: predictions
    tuple val(meta), path("${prefix}/study.json")     , emit: study
    tuple val(meta), path("${prefix}/report.html")    , emit: report
    path "versions.yml"                               , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}_phenotype"
    def metadata_option = metadata ? "--metadata '${metadata}'" : ''
    def species_option = species ? "--species '${species}'" : ''
    """
    export MPLCONFIGDIR="\$PWD/.cache/matplotlib" NUMBA_CACHE_DIR="\$PWD/.cache/numba"

    biomeformer phenotype evaluate '${table}' \\
        --target '${target}' \\
        ${metadata_option} ${species_option} \\
        --output '${prefix}' \\
        --threads ${task.cpus} \\
        ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        biomeformer: \$(biomeformer --version | sed 's/biomeformer //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}_phenotype"
    """
    mkdir '${prefix}'
    touch '${prefix}/scores.csv' '${prefix}/predictions.csv' '${prefix}/study.json' '${prefix}/report.html'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        biomeformer: \$(biomeformer --version | sed 's/biomeformer //')
    END_VERSIONS
    """
}
