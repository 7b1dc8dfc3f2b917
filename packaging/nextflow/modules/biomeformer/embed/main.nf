process BIOMEFORMER_EMBED {
    tag "${meta.id}"
    label 'process_high'

    conda "${moduleDir}/environment.yml"
    container "biomeformer:0.2.0"

    input:
    tuple val(meta), path(samplesheet), path(reads, stageAs: 'reads/*')
    val model
    path checkpoint

    output:
    tuple val(meta), path("${prefix}")                  , emit: results
    tuple val(meta), path("${prefix}/abundance.parquet"), emit: table
    tuple val(meta), path("${prefix}/cohort.png")       , emit: figure
    tuple val(meta), path("${prefix}/report.html")      , emit: report
    tuple val(meta), path("${prefix}_multiqc/*_mqc*")   , emit: multiqc
    path "versions.yml"                                 , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def weights = checkpoint ?: model
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    export MPLCONFIGDIR="\$PWD/.cache/matplotlib" NUMBA_CACHE_DIR="\$PWD/.cache/numba"

    biomeformer embed '${samplesheet}' \\
        --model '${weights}' \\
        --output '${prefix}' \\
        --device ${device} \\
        --threads ${task.cpus} \\
        ${args}

    biomeformer export '${prefix}' --format multiqc --output '${prefix}_multiqc'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        biomeformer: \$(biomeformer --version | sed 's/biomeformer //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir '${prefix}' '${prefix}_multiqc'
    touch '${prefix}/abundance.parquet' '${prefix}/cohort.png' '${prefix}/report.html'
    touch '${prefix}_multiqc/biomeformer_reads_mqc.tsv'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        biomeformer: \$(biomeformer --version | sed 's/biomeformer //')
    END_VERSIONS
    """
}
