process BIOMEFORMER_GENOME_PREDICT {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "biomeformer:0.2.0"

    input:
    tuple val(meta), path(genomes)
    val model
    path checkpoint

    output:
    tuple val(meta), path("${prefix}.tsv"), emit: predictions
    path "versions.yml"                   , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def weights = checkpoint ?: model
    def device = task.accelerator ? 'cuda' : 'cpu'
    """
    biomeformer genome predict ${genomes} \\
        --model '${weights}' \\
        --output '${prefix}.tsv' \\
        --device ${device} \\
        --threads ${task.cpus} \\
        ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        biomeformer: \$(biomeformer --version | sed 's/biomeformer //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch '${prefix}.tsv'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        biomeformer: \$(biomeformer --version | sed 's/biomeformer //')
    END_VERSIONS
    """
}
